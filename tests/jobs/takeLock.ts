/** A program for the tests: tries to take a lock, says whether it did, and holds it for a while. `takeLock.ts PATH`. */
import { setTimeout as sleep } from "node:timers/promises";
import { takeLock } from "../../jobs/local/lock";

takeLock(process.argv[2] ?? "", "it").then(
  async () => {
    console.log("taken");
    await sleep(5000); // longer than the others take to start
  },
  () => console.log("refused"),
);
