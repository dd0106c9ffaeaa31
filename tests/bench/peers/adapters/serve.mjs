// Owns what every Node adapter shares: JSON lines in and out, the loops that are timed, stamps.
// The twin of serve.py: the same commands, the same loops.

import { openSync, writeSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

const NO_STAMP = -1;
const now = () => Number(process.hrtime.bigint()); // CLOCK_MONOTONIC, exact below 104 days of uptime
const say = (answer) => process.stdout.write(JSON.stringify(answer) + "\n");

export async function main(openClient, work) {
  const config = JSON.parse(process.argv[3]);
  if (process.argv[2] === "client") await serve(await openClient(config));
  else {
    await work(config, stamper(config.stamps));
    say({ ready: true });
  }
}

// What a handler calls first: it takes the moment down, where the job has a slot.
function stamper(path) {
  const file = openSync(path, "r+");
  const cell = Buffer.alloc(8);
  return (slot) => {
    if (slot === NO_STAMP) return;
    cell.writeBigInt64LE(process.hrtime.bigint());
    writeSync(file, cell, 0, 8, slot * 8);
  };
}

async function serve(client) {
  say({ ready: true });
  for await (const line of createInterface({ input: process.stdin })) {
    const command = JSON.parse(line);
    say(await COMMANDS[command.do](client, command));
  }
  process.exit(0);
}

const COMMANDS = {
  async one(client, { slot }) {
    const called = now();
    await client.one(slot);
    return { called, returned: now() };
  },
  // An open loop: jobs come when they are due, however long earlier ones take.
  async steady(client, { count, rate }) {
    const called = [];
    const probes = [];
    const began = performance.now();
    for (let slot = 0; slot < count; slot++) {
      const wait = began + (slot * 1000) / rate - performance.now();
      if (wait > 0) await sleep(wait);
      called[slot] = now();
      probes.push(client.one(slot));
    }
    await Promise.all(probes);
    return { called };
  },
  // A closed loop of so many callers.
  async create(client, { callers, batch, seconds }) {
    let jobs = 0;
    const began = performance.now();
    const repeat = async () => {
      while (performance.now() - began < seconds * 1000) {
        await (batch === 1 ? client.one(NO_STAMP) : client.many(Array(batch).fill(NO_STAMP)));
        jobs += batch;
      }
    };
    await Promise.all(Array.from({ length: callers }, repeat));
    return { jobs, seconds: (performance.now() - began) / 1000 };
  },
  // Store a backlog, of which every so many-th job stamps.
  async backlog(client, { jobs, batch, every }) {
    for (let first = 0; first < jobs; first += batch) {
      const numbers = Array.from({ length: Math.min(batch, jobs - first) }, (_, i) => first + i);
      await client.many(numbers.map((n) => (n % every === 0 ? n / every : NO_STAMP)));
    }
    return {};
  },
};
