/** What AWS would refuse later, looked at before anything is created: every problem at once, with how to mend it. */
import { spawnSync } from "node:child_process";
import { DescribeCapacityReservationsCommand, DescribeInstanceTypeOfferingsCommand } from "@aws-sdk/client-ec2";
import { GetAWSDefaultServiceQuotaCommand, GetServiceQuotaCommand } from "@aws-sdk/client-service-quotas";
import { ConfigError } from "../../configs/load";
import { GPU_TYPES } from "../../infra/aws/gpuTypes";
import { type AwsSettings, capacityType, zonesOf } from "../../infra/aws/settings";
import { type AwsClients, credentialProblem } from "./clients";

export interface PreflightArgs {
  readonly settings: AwsSettings;
  readonly clients: AwsClients;
  /** Bytes of the base model's weights; undefined if nobody could say. */
  readonly modelBytes: number | undefined;
  readonly now: Date;
}

export interface Findings {
  /** Each stops the run. */
  readonly problems: readonly string[];
  /** Each is said, and nothing more. */
  readonly warnings: readonly string[];
}

/** One look: what it finds wrong, or what it could not find out. */
type Look = (args: PreflightArgs) => Promise<Partial<Findings>>;

const LOOKS: Readonly<Record<string, Look>> = {
  credentials: lasting,
  zones: offered,
  quota: quotas,
  reservations,
  "GPU memory": async (args) => fits(args),
  "the aws command": async () => awsCommand(),
};

/** Looks at everything side by side. A look that AWS does not allow is a warning: the run itself may be allowed more. */
export async function preflight(args: PreflightArgs): Promise<Findings> {
  const found = await Promise.all(
    Object.entries(LOOKS).map(([what, look]) => look(args).catch((error: Error) => unanswered(what, error))),
  );
  return {
    problems: [...new Set(found.flatMap(({ problems = [] }) => problems))],
    warnings: [...new Set(found.flatMap(({ warnings = [] }) => warnings))],
  };
}

/** Throws ConfigError with every problem; warnings are said. */
export async function checkAccount(args: PreflightArgs, warn: (text: string) => void): Promise<void> {
  const { problems, warnings } = await preflight(args);
  for (const warning of warnings) warn(warning);
  if (problems.length > 0) throw new ConfigError(problems);
}

const REFUSED = ["AccessDenied", "AccessDeniedException", "UnauthorizedOperation"];

function unanswered(what: string, error: Error): Partial<Findings> {
  const credentials = credentialProblem(error);
  if (credentials) return { problems: [credentials] };
  if (REFUSED.includes(error.name)) return { warnings: [`${what}: not looked at, since AWS does not allow it`] };
  return { warnings: [`${what}: could not be looked at (${error.name}: ${error.message})`] };
}

/** A first `pulumi up` takes an hour and more; credentials that expire meanwhile lose what it has made. */
const NEEDED_HOURS = 2;

async function lasting({ clients, now }: PreflightArgs): Promise<Partial<Findings>> {
  const { expiration } = await clients.sts.config.credentials();
  if (!expiration) return {};
  const minutes = Math.floor((expiration.getTime() - now.getTime()) / 60_000);
  if (minutes <= 0) return { problems: ["the AWS credentials have expired: aws sso login, or renew them"] };
  if (minutes >= NEEDED_HOURS * 60) return {};
  const text = `the AWS credentials last ${minutes} more minutes: a first run takes longer, and what Pulumi made meanwhile would not be written down; renew them before`;
  return { warnings: [text] };
}

/** The instance types must be offered in a zone where the pool may start nodes, and the zones must exist. */
async function offered({ settings, clients }: PreflightArgs): Promise<Partial<Findings>> {
  const { instanceTypes } = settings.gpu;
  const { InstanceTypeOfferings = [] } = await clients.ec2.send(
    new DescribeInstanceTypeOfferingsCommand({
      LocationType: "availability-zone",
      Filters: [{ Name: "instance-type", Values: [...instanceTypes] }],
    }),
  );
  const zones = settings.gpu.zones ?? zonesOf(settings);
  const problems = instanceTypes.flatMap((type) => {
    const there = InstanceTypeOfferings.filter(({ InstanceType }) => InstanceType === type).map(
      ({ Location }) => Location ?? "",
    );
    if (there.some((zone) => zones.includes(zone))) return [];
    if (there.length === 0) {
      return [
        `${type} is not offered in ${settings.region}: pulumi config set retort:region us-east-1, or another type`,
      ];
    }
    const list = there.sort().join(", ");
    return [`${type} is offered in ${list}, not in ${zones.join(", ")}: set retort:network.zones (or gpu.zones) so`];
  });
  return { problems };
}

/** Of the account's quotas for EC2, in vCPUs. */
const QUOTAS = { "on-demand": "L-417A185B", reserved: "L-417A185B", spot: "L-C4BD4855" } as const;

async function quotas({ settings, clients }: PreflightArgs): Promise<Partial<Findings>> {
  const { instanceTypes, capacity, nodes } = settings.gpu;
  const smallest = Math.min(...instanceTypes.map((type) => GPU_TYPES[type].vcpus)) * nodes;
  const kinds = capacity.map(capacityType).filter((kind) => kind !== "reserved");
  const found = await Promise.all(kinds.map(async (kind) => ({ kind, quota: await quotaOf(clients, QUOTAS[kind]) })));
  const short = found.filter(({ quota }) => quota < smallest);
  const texts = short.map(
    ({ kind, quota }) =>
      `the quota of this account for ${kind} P instances is ${quota} vCPUs in ${settings.region}, and ${smallest} are needed: ` +
      `aws service-quotas request-service-quota-increase --service-code ec2 --quota-code ${QUOTAS[kind]} --desired-value ${smallest} --region ${settings.region} (it takes hours to days)`,
  );
  // With another kind of capacity to fall back on, the run can still start.
  return short.length === capacity.length ? { problems: texts } : { warnings: texts };
}

/** The account's own value, or AWS's default where none was ever asked for. */
async function quotaOf({ quotas: client }: AwsClients, QuotaCode: string): Promise<number> {
  const which = { ServiceCode: "ec2", QuotaCode };
  const applied = await client.send(new GetServiceQuotaCommand(which)).catch((error: Error) => {
    if (error.name === "NoSuchResourceException") return undefined;
    throw error;
  });
  const { Quota } = applied ?? (await client.send(new GetAWSDefaultServiceQuotaCommand(which)));
  return Quota?.Value ?? 0;
}

/** Reservations are used, never bought: each must exist, be active and be of a type and zone of the pool. */
async function reservations({ settings, clients, now }: PreflightArgs): Promise<Partial<Findings>> {
  const ids = settings.gpu.capacity.flatMap((kind) => (typeof kind === "string" ? [] : kind.reserved));
  if (ids.length === 0) return {};
  const asked = new DescribeCapacityReservationsCommand({ CapacityReservationIds: ids });
  const { CapacityReservations = [] } = await clients.ec2.send(asked).catch((error: Error) => {
    if (error.name.startsWith("InvalidCapacityReservationId")) return { CapacityReservations: [] };
    throw error;
  });
  const zones = settings.gpu.zones ?? zonesOf(settings);
  const problems = ids.flatMap((id) => {
    const found = CapacityReservations.find(({ CapacityReservationId }) => CapacityReservationId === id);
    if (!found) return [`the reservation ${id} is not in ${settings.region}, or not in this account`];
    const { State = "", InstanceType = "", AvailabilityZone = "", EndDate } = found;
    const types: readonly string[] = settings.gpu.instanceTypes;
    return [
      ...(State === "active" && !(EndDate && EndDate < now) ? [] : [`the reservation ${id} is ${State}, not active`]),
      ...(types.includes(InstanceType)
        ? []
        : [`the reservation ${id} is for ${InstanceType}: add it to gpu.instanceTypes`]),
      ...(zones.includes(AvailabilityZone) ? [] : [`the reservation ${id} is in ${AvailabilityZone}: add that zone`]),
    ];
  });
  return { problems };
}

/** Measured: 8.03B in bf16 (16 GB) trains with 65 GiB at its peak, and the micro-batches get smaller by themselves. */
const WEIGHTS_OF_MEMORY = 0.7;

function fits({ settings, modelBytes }: PreflightArgs): Partial<Findings> {
  if (modelBytes === undefined) return {};
  const { instanceTypes } = settings.gpu;
  const gib = modelBytes / 2 ** 30;
  const memory = Math.min(...instanceTypes.map((type) => GPU_TYPES[type].gpuMemoryGiB));
  const diskGiB = settings.pod.diskGiB;
  return {
    problems: [
      ...(gib <= memory * WEIGHTS_OF_MEMORY
        ? []
        : [`the base model's weights are ${gib.toFixed(0)} GiB, too many to train on a GPU with ${memory} GiB`]),
      // The base model, the merged one, and a few checkpoints.
      ...(gib * 2.5 <= diskGiB
        ? []
        : [
            `the base model is ${gib.toFixed(0)} GiB, and a stage has ${diskGiB} GiB of disk: raise retort:pod.diskGiB to ${Math.ceil(gib * 2.5)}`,
          ]),
    ],
  };
}

function awsCommand(): Partial<Findings> {
  const works = spawnSync("aws", ["--version"], { stdio: "ignore" }).status === 0;
  return works ? {} : { problems: ["the aws command is not here: kubectl and Pulumi log in to EKS with it"] };
}
