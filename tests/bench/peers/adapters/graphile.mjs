// graphile-worker, set up as its own page on performance sets it up for its figures: 24 jobs at
// once, a local queue of 500, completions in batches without delay.
// https://worker.graphile.org/docs/performance  https://worker.graphile.org/docs/library/add-jobs

import { Logger, makeWorkerUtils, run } from "graphile-worker";
import { main } from "./serve.mjs";

const logger = new Logger(() => () => {});

async function openClient({ url }) {
  const utils = await makeWorkerUtils({ connectionString: url, maxPoolSize: 20, logger });
  await utils.migrate();
  return {
    one: (slot) => utils.addJob("stamp", { slot }),
    many: (slots) => utils.addJobs(slots.map((slot) => ({ identifier: "stamp", payload: { slot } }))),
  };
}

async function work({ url }, stamp) {
  const worker = {
    connectionString: url,
    concurrentJobs: 24,
    maxPoolSize: 25,
    localQueue: { size: 500 },
    completeJobBatchDelay: 0,
    failJobBatchDelay: 0,
    logger,
  };
  await run({ preset: { worker }, taskList: { stamp: async ({ slot }) => stamp(slot) } });
}

await main(openClient, work);
