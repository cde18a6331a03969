/**
 * `npm run teardown:check`: what AWS still has of a stack and bills for. Fails if anything is there, or could not be looked
 * at. With `--gpu`, only GPU machines count: that is for a stack that is to stay, while nothing runs.
 */
import { parseArgs } from "node:util";
import { AwsSettings } from "../../infra/aws/settings";
import { ROOT } from "../environment";
import { stackFile, stackName } from "../stackFile";
import { reported, VisibleError } from "../visibleError";
import { awsClients } from "./clients";
import { gpuLeftovers, type Leftovers, leftovers } from "./leftovers";

async function main(args: readonly string[]): Promise<number> {
  const options = { stack: { type: "string" }, region: { type: "string" }, gpu: { type: "boolean" } } as const;
  const { values } = parseArgs({ args: [...args], options });
  const stack = stackName(ROOT, values.stack);
  // After a destroy, `pulumi stack rm` may have taken the file away: the region can be given.
  const region = AwsSettings.shape.region.safeParse(values.region ?? (stackFile(ROOT, stack)("region") || undefined));
  if (!region.success) throw new VisibleError(`the region ${region.error.issues[0]?.message}`, 2);
  const look = values.gpu ? gpuLeftovers : leftovers;
  const left = await look(awsClients(region.data), stack);
  for (const line of verdict(`${stack} in ${region.data}`, left, values.gpu ?? false)) console.log(line);
  return isClear(left, values.gpu ?? false) ? 0 : 1;
}

/** The nodes of the cluster may be out of sight of those who only watch over costs: EC2's answer decides. */
function isClear({ found, unseen }: Leftovers, gpuOnly: boolean): boolean {
  const deciding = gpuOnly ? unseen.filter((what) => what.startsWith("instances")) : unseen;
  return found.length === 0 && deciding.length === 0;
}

function verdict(where: string, left: Leftovers, gpuOnly: boolean): string[] {
  const { found, unseen } = left;
  const indented = (lines: readonly string[]) => lines.map((line) => `  ${line}`);
  const nothing = gpuOnly
    ? "no GPU machine is left"
    : "nothing that is billed by the hour is left; its buckets are kept";
  return [
    ...(isClear(left, gpuOnly) ? [`${where}: ${nothing}`] : []),
    ...(found.length > 0 ? [`${where}: still there:`, ...indented(found)] : []),
    ...(unseen.length > 0 ? [`${where}: could not be looked at:`, ...indented(unseen)] : []),
    ...(found.length > 0 ? [gpuOnly ? STOP : DESTROY] : []),
  ];
}

const STOP = "npm run cancel stops a stage that runs; kubectl delete nodeclaims --all ends nodes that nothing runs on";
const DESTROY = "pulumi destroy again ends what its state still names; anything else is to be deleted by hand";

if (require.main === module) {
  main(process.argv.slice(2))
    .catch(reported)
    .then((code) => {
      process.exitCode = code;
    });
}
