/** What an hour of a GPU node costs: what AWS says now, where it answers, else the dated table of configs/. Pure but for reading it. */
import { readFileSync } from "node:fs";
import { parse } from "yaml";
import { z } from "zod";
import { ConfigError } from "../../configs/load";
import { GPU_TYPE_NAMES } from "../../infra/aws/gpuTypes";
import { type AwsSettings, capacityType, zonesOf } from "../../infra/aws/settings";
import type { LivePrices } from "./livePrices";

const usd = z.number().nonnegative();
const Table = z.strictObject({
  asOf: z.string().regex(/^\d{4}-\d\d-\d\d$/, { error: "must be a date, such as 2026-07-20" }),
  region: z.string(),
  instances: z.record(z.enum(GPU_TYPE_NAMES), z.strictObject({ onDemand: usd, spot: usd, autoMode: usd })),
  standing: z.strictObject({ cluster: usd, nat: usd, smallNode: usd, endpoint: usd }),
});
export type PriceTable = z.output<typeof Table>;

export interface Price {
  /** USD an hour of a node, with Auto Mode's fee. */
  readonly low: number;
  readonly high: number;
  /** USD an hour of what stands beside it: cluster, network. */
  readonly standing: number;
  /** Where the figures are from, for people. */
  readonly source: string;
  /** What a person should know about them. */
  readonly notes: readonly string[];
}

/** Throws ConfigError if the file is not a table of prices. */
export function loadPrices(file: string): PriceTable {
  const parsed = Table.safeParse(parse(readFileSync(file, "utf8")));
  if (parsed.success) return parsed.data;
  throw new ConfigError(parsed.error.issues.map(({ path, message }) => `${file}: ${path.join(".")}: ${message}`));
}

/** A price list that is older may well be wrong. */
const OLD_DAYS = 90;

/** The cheapest and the dearest node that the pool may start. A reservation is reckoned as on demand: so it is billed. */
export function nodePrice(settings: AwsSettings, table: PriceTable, live: LivePrices, now = new Date()): Price {
  const { gpu, budget, network } = settings;
  const endpoints = network.ecrEndpoints ? 2 * zonesOf(settings).length * table.standing.endpoint : 0;
  const { cluster, nat, smallNode } = table.standing;
  const standing = cluster + smallNode + (network.vpcId === undefined ? nat : 0) + endpoints;
  const own = budget.usdPerHour;
  if (own !== undefined) return { low: own, high: own, standing, source: "retort:budget.usdPerHour", notes: [] };
  const kinds = gpu.capacity.map((kind) => (capacityType(kind) === "spot" ? ("spot" as const) : ("onDemand" as const)));
  const found = gpu.instanceTypes.flatMap((type) =>
    kinds.map((kind) => {
      const { autoMode, ...listed } = table.instances[type];
      const { low, high } = live[kind][type] ?? { low: listed[kind], high: listed[kind] };
      return { isLive: live[kind][type] !== undefined, low: low + autoMode, high: high + autoMode };
    }),
  );
  const isLive = found.every((price) => price.isLive);
  return {
    low: Math.min(...found.map(({ low }) => low)),
    high: Math.max(...found.map(({ high }) => high)),
    standing,
    source: isLive ? `AWS's prices of now, and Auto Mode's fee of ${nameOf(table)}` : nameOf(table),
    notes: [...live.notes, ...(isLive ? [] : doubts(settings, table, now)), ...reserved(settings)],
  };
}

const nameOf = ({ asOf }: PriceTable): string => `configs/prices.yaml of ${asOf}`;

/** Why the table may be wrong. */
function doubts({ region }: AwsSettings, { asOf, region: listed }: PriceTable, now: Date): string[] {
  const days = Math.floor((now.getTime() - Date.parse(asOf)) / 86_400_000);
  return [
    ...(days > OLD_DAYS
      ? [`configs/prices.yaml is ${days} days old: correct it, and its asOf, if prices have changed`]
      : []),
    ...(region === listed ? [] : [`configs/prices.yaml is for ${listed}: in ${region} a node may cost more`]),
  ];
}

const reserved = ({ gpu }: AwsSettings): string[] =>
  gpu.capacity.some((kind) => capacityType(kind) === "reserved")
    ? ["a reservation is billed as long as it exists, whether a stage runs or not: that is not in these figures"]
    : [];
