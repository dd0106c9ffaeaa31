// pg-boss polls, at best every half second; what it is given per poll is up to us. For latency one
// poller with room for what comes in between, for throughput four with batches of 5,000, the best
// of what we tried. https://github.com/timgit/pg-boss/blob/master/docs/api/workers.md

import PgBoss from "pg-boss";
import { main } from "./serve.mjs";

const QUEUE = "bench";
const SETTINGS = {
  latency: { pollers: 1, batchSize: 1000 },
  throughput: { pollers: 4, batchSize: 5000 },
};

async function openClient({ url }) {
  const boss = new PgBoss({ connectionString: url, max: 20, supervise: false, schedule: false });
  boss.on("error", console.error);
  await boss.start();
  await boss.createQueue(QUEUE);
  return {
    one: (slot) => boss.send(QUEUE, { slot }),
    many: (slots) => boss.insert(slots.map((slot) => ({ name: QUEUE, data: { slot } }))),
  };
}

async function work({ url, mode }, stamp) {
  const { pollers, batchSize } = SETTINGS[mode];
  const boss = new PgBoss({ connectionString: url });
  boss.on("error", console.error);
  await boss.start();
  for (let poller = 0; poller < pollers; poller++) {
    await boss.work(QUEUE, { batchSize, pollingIntervalSeconds: 0.5 }, async (jobs) => {
      for (const job of jobs) stamp(job.data.slot);
    });
  }
}

await main(openClient, work);
