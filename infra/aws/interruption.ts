/** What `pulumi up` says when it is interrupted: the engine lets a program speak once more before it ends. */
import * as pulumi from "@pulumi/pulumi";

const SIGNALS = ["SIGINT", "SIGTERM"] as const;
/** As a shell gives it to a program that ended by Ctrl-C. */
const INTERRUPTED = 130;

/** Says `text` if the program is interrupted from now on, and ends it. Returns what undoes that. */
export function sayIfInterrupted(text: string): () => void {
  let said = false;
  const speak = () => {
    // The engine passes the signal on, and the terminal may have done so before.
    if (said) return;
    said = true;
    void pulumi.log.warn(text).then(() => process.exit(INTERRUPTED));
  };
  for (const signal of SIGNALS) process.on(signal, speak);
  return () => {
    for (const signal of SIGNALS) process.off(signal, speak);
  };
}

/** What goes on without this program, what it costs, and how it is stopped. Pure. */
export const whatRunsOn = (stack: string, usdPerHour: number): string =>
  [
    `a stage that has started runs on without this program, at up to ${usdPerHour.toFixed(2)} USD an hour; its node goes when it ends`,
    `npm run cancel -- --stack ${stack}   stops it: it saves first, and the GPU is looked for until it is gone`,
    `npm run status -- --stack ${stack}   says how far it is, and what GPU capacity there is`,
    "pulumi up                        attaches to it again",
  ].join("\n");
