/** `npm run estimate`: what the run of a stack on AWS will take, all stages, without touching anything. */
import { parseArgs } from "node:util";
import { loadConfig } from "../../configs/load";
import { bucketsOf } from "../../infra/aws/names";
import { AwsSettings } from "../../infra/aws/settings";
import { parseTarget } from "../../infra/settings";
import { ROOT } from "../environment";
import { s3Store } from "../s3";
import { stackFile, stackName } from "../stackFile";
import { STAGES } from "../stages";
import { reported, VisibleError } from "../visibleError";
import { accountOf, awsClients } from "./clients";
import { RunMoney } from "./money";

async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...args], options: { stack: { type: "string" } } });
  const stack = stackName(ROOT, values.stack);
  const read = stackFile(ROOT, stack);
  if (read("target") !== "aws") {
    throw new VisibleError(`the estimate is for target aws, and the stack ${stack} has another: it has no prices`, 2);
  }
  const settings = parseTarget(read, ROOT, AwsSettings);
  const clients = awsClients(settings.region);
  const store = s3Store({ region: settings.region, toBeMade: true });
  // Without credentials there is an estimate, too; only earlier runs cannot be looked at.
  const account = await accountOf(clients).catch(() => undefined);
  const results = account && bucketsOf(stack, account, settings.storage).results;
  const runs = results && `s3://${results}/runs`;
  const [say, complain] = [console.log, console.error];
  const money = new RunMoney({ settings, clients, root: ROOT, stack, store, runs, say, complain });
  await money.mayStart(loadConfig(settings.run), STAGES);
}

main(process.argv.slice(2)).catch((error: unknown) => {
  process.exitCode = reported(error);
});
