/** The machines of a cluster, found by looking: what EC2 has under the tag that EKS puts on every node. */
import { DescribeInstancesCommand, type EC2Client, type Instance } from "@aws-sdk/client-ec2";

export interface Machine {
  readonly id: string;
  readonly type: string;
  readonly state: string;
  readonly launchedAt: Date;
  /** When it ended, if EC2 still knows. */
  readonly endedAt: Date | undefined;
}

/** The tag of everything that EKS Auto Mode makes. */
export const CLUSTER_TAG = "eks:eks-cluster-name";

/** Every machine of a cluster that EC2 knows, those that ended within the last hour among them. */
export async function machinesOf(ec2: EC2Client, clusterName: string): Promise<Machine[]> {
  const found: Instance[] = [];
  let NextToken: string | undefined;
  do {
    const Filters = [{ Name: `tag:${CLUSTER_TAG}`, Values: [clusterName] }];
    const page = await ec2.send(new DescribeInstancesCommand({ Filters, ...(NextToken && { NextToken }) }));
    found.push(...(page.Reservations ?? []).flatMap(({ Instances = [] }) => Instances));
    NextToken = page.NextToken;
  } while (NextToken);
  return found.map(({ InstanceId = "", InstanceType = "", State, LaunchTime, StateTransitionReason }) => ({
    id: InstanceId,
    type: InstanceType,
    state: State?.Name ?? "unknown",
    launchedAt: LaunchTime ?? new Date(0),
    endedAt: endOf(StateTransitionReason),
  }));
}

/** EC2 says when only in a sentence: "User initiated (2026-11-22 18:01:02 GMT)". */
function endOf(reason: string | undefined): Date | undefined {
  const [, day, time] = /\((\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) GMT\)/.exec(reason ?? "") ?? [];
  return day && time ? new Date(`${day}T${time}Z`) : undefined;
}

/** Whether a machine costs money, or is about to end. */
export const isThere = ({ state }: Machine): boolean => state !== "terminated";
export const hasGpu = ({ type }: Machine): boolean => type.startsWith("p5");

export interface Waiting {
  readonly look: () => Promise<readonly string[]>;
  readonly minutes: number;
  readonly pollSeconds: number;
  readonly say: (text: string) => void;
}

/** Waits until no GPU node is left. Returns what still is: nothing if all is well. Not to be able to look is not to see nothing. */
export async function untilGone({ look, minutes, pollSeconds, say }: Waiting): Promise<readonly string[]> {
  const deadline = Date.now() + minutes * 60_000;
  let said = "";
  for (;;) {
    const left = await look().catch((error: Error) => [`nobody knows what (${error.name}: ${error.message})`]);
    if (left.length === 0 || Date.now() >= deadline) return left;
    const text = `waiting until the GPU capacity is gone: ${left.join(", ")}`;
    if (text !== said) say(text);
    said = text;
    await new Promise((resolve) => setTimeout(resolve, pollSeconds * 1000));
  }
}
