/** The program that `pulumi up` runs: what a run says, where it runs, what it runs from, and the chain of its stages. */
import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { ConfigError, loadConfig } from "../configs/load";
import { ARTIFACTS, join as below } from "../jobs/artifacts";
import { runStages } from "../jobs/chain";
import { inWords } from "../jobs/kubernetes/refusal";
import { checkData, clusterSources, imageSources, uploadData } from "../jobs/kubernetes/sources";
import { planStages } from "../jobs/plan";
import { type StageName, stageSpecs } from "../jobs/stages";
import { VisibleError } from "../jobs/visibleError";
import { Access } from "./access";
import { AwsSettings } from "./aws/settings";
import { namespace } from "./namespace";
import { parseSettings, parseTarget } from "./settings";
import { stackSetting } from "./stackSetting";
import { kubernetesTarget, type Target } from "./target";
import { TensorBoard } from "./tensorboard";

const ROOT = join(__dirname, "..");

async function program() {
  // Everything that can be wrong is looked at before anything is created.
  const { target, run: file } = await chosenTarget();
  const config = loadConfig(file);
  await target.check(config);
  const { base, runs, store } = target.storage;
  const { sources, uploads } = await clusterSources(config, { root: ROOT, base, store });
  await checkData(uploads, ROOT, store);

  const { settings, provider, ...ground } = await target.ground(config);
  const specs = stageSpecs(config, { ...sources, ...imageSources(settings.images) }, runs);
  const plans = await planStages(specs, runs, store, target.cluster);
  for (const { spec, why } of plans) await pulumi.log.info(`${spec.name} ${why}`);
  const open = plans.filter(({ state }) => !state.done);
  await ground.mayStart(open.map(({ spec }) => spec.name));
  const works = !pulumi.runtime.isDryRun() && open.length > 0;
  if (works) await uploadData(uploads, store);

  const after = { provider, dependsOn: [...ground.dependsOn] };
  const home = ground.namespaceIsGiven ? undefined : namespace("namespace", settings.namespace, after);
  const inside = home ? { provider, dependsOn: [home] } : after;
  const access = new Access("access", settings, inside);
  const { credentials } = access;
  const allowed = { provider, dependsOn: [...inside.dependsOn, access] };
  const run = below(runs, config.name);
  const board = new TensorBoard("tensorboard", { namespace: settings.namespace, settings, credentials, run }, allowed);

  const stages = { plans, settings, credentials, runs, store, cluster: target.cluster };
  const results = await runStages(stages, allowed).finally(async () => {
    if (works) await ground.close(specs);
  });
  const outputOf = (name: StageName) => plans.find(({ spec }) => spec.name === name)?.spec.output ?? "";
  return {
    passRates: {
      base: results["evaluate"]?.metrics["basePassRate"],
      merged: results["evaluate"]?.metrics["mergedPassRate"],
    },
    report: below(outputOf("evaluate"), ARTIFACTS.evaluate.page),
    model: below(outputOf("merge"), ARTIFACTS.merge.model),
    tensorboard: board.command,
    ...ground.outputs,
  };
}

/** What belongs to AWS is loaded only where it is used: it is big. */
async function chosenTarget(): Promise<{ target: Target; run: string }> {
  if (stackSetting("target") === "aws") {
    const settings = parseTarget(stackSetting, ROOT, AwsSettings);
    const { awsTarget } = await import("./aws/target.js");
    return { target: await awsTarget(settings, ROOT), run: settings.run };
  }
  const settings = parseSettings(stackSetting, ROOT);
  return { target: await kubernetesTarget(settings), run: settings.run };
}

/** The user's mistakes and failed stages have a message and no stack trace. */
export = async () => {
  try {
    return await program();
  } catch (thrown) {
    const error = inWords(thrown);
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
