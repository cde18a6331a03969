/** The program that `pulumi up` runs: what a run says, where it runs, what it runs from, and the chain of its stages. */
import { join } from "node:path";
import { Provider } from "@pulumi/kubernetes/provider";
import * as pulumi from "@pulumi/pulumi";
import { ConfigError } from "../configs/load";
import { ARTIFACTS, join as below } from "../jobs/artifacts";
import { runStages } from "../jobs/chain";
import { readRun } from "../jobs/kubernetes/run";
import { uploadData } from "../jobs/kubernetes/sources";
import type { StageName } from "../jobs/stages";
import { VisibleError } from "../jobs/visibleError";
import { Access } from "./access";
import { namespace } from "./namespace";
import { parseSettings } from "./settings";
import { stackSetting } from "./stackSetting";
import { TensorBoard } from "./tensorboard";

const ROOT = join(__dirname, "..");

async function program() {
  // Everything that can be wrong is looked at before anything is created.
  const settings = parseSettings(stackSetting, ROOT);
  const { config, cluster, uploads, plans, runs, store } = await readRun(settings, ROOT);
  for (const { spec, why } of plans) await pulumi.log.info(`${spec.name} ${why}`);
  const idle = plans.every(({ state }) => state.done);
  if (!pulumi.runtime.isDryRun() && !idle) await uploadData(uploads, store);

  const provider = new Provider("cluster", { ...(settings.context && { context: settings.context }) });
  const home = namespace(settings.namespace, { provider });
  const inside = { provider, dependsOn: [home] };
  const access = new Access("access", settings, inside);
  const { credentials } = access;
  const run = below(runs, config.name);
  const board = new TensorBoard("tensorboard", { namespace: settings.namespace, settings, credentials, run }, inside);

  const stages = { plans, settings, credentials, runs, store, cluster };
  const results = await runStages(stages, { provider, dependsOn: [home, access] });
  const outputOf = (name: StageName) => plans.find(({ spec }) => spec.name === name)?.spec.output ?? "";
  return {
    passRates: {
      base: results["evaluate"]?.metrics["basePassRate"],
      merged: results["evaluate"]?.metrics["mergedPassRate"],
    },
    report: below(outputOf("evaluate"), ARTIFACTS.evaluate.page),
    model: below(outputOf("merge"), ARTIFACTS.merge.model),
    tensorboard: board.command,
  };
}

/** The user's mistakes and failed stages have a message and no stack trace. */
export = async () => {
  try {
    return await program();
  } catch (error) {
    const { message, stack = message } = error as Error;
    throw quickly(error instanceof ConfigError || error instanceof VisibleError ? message : stack);
  }
};

/** Pulumi colours the stack of every error, shown or not, which takes it twenty seconds of one made by tsx. */
function quickly(message: string): pulumi.RunError {
  const error = new pulumi.RunError(message);
  error.stack = "";
  return error;
}
