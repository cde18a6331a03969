/** Whether AWS may start the pool's machines: types in zones, quotas, reservations. */
import { DescribeCapacityReservationsCommand, DescribeInstanceTypeOfferingsCommand } from "@aws-sdk/client-ec2";
import { GetAWSDefaultServiceQuotaCommand, GetServiceQuotaCommand } from "@aws-sdk/client-service-quotas";
import { GPU_TYPES } from "../../../infra/aws/gpuTypes";
import { capacityType, zonesOf } from "../../../infra/aws/settings";
import type { AwsClients } from "../clients";
import type { Findings, PreflightArgs } from "../preflight";

/** The instance types must be offered in a zone where the pool may start nodes, and the zones must exist. */
export async function offered({ settings, clients }: PreflightArgs): Promise<Partial<Findings>> {
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

export async function quotas({ settings, clients }: PreflightArgs): Promise<Partial<Findings>> {
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
export async function reservations({ settings, clients, now }: PreflightArgs): Promise<Partial<Findings>> {
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
