/** What an hour of a GPU node costs: AWS's own price and spot APIs where they answer, else the dated table of configs/. */
import { readFileSync } from "node:fs";
import { DescribeSpotPriceHistoryCommand } from "@aws-sdk/client-ec2";
import { GetProductsCommand, PricingClient } from "@aws-sdk/client-pricing";
import { parse } from "yaml";
import { z } from "zod";
import { ConfigError } from "../../configs/load";
import { GPU_TYPE_NAMES, type GpuTypeName } from "../../infra/aws/gpuTypes";
import { type AwsSettings, capacityType, zonesOf } from "../../infra/aws/settings";
import type { AwsClients } from "./clients";

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
}

/** Throws ConfigError if the file is not a table of prices. */
export function loadPrices(file: string): PriceTable {
  const parsed = Table.safeParse(parse(readFileSync(file, "utf8")));
  if (parsed.success) return parsed.data;
  throw new ConfigError(parsed.error.issues.map(({ path, message }) => `${file}: ${path.join(".")}: ${message}`));
}

/** What AWS says now, in USD an hour; undefined where it does not. */
export interface LivePrices {
  readonly onDemand: Partial<Record<GpuTypeName, number>>;
  readonly spot: Partial<Record<GpuTypeName, number>>;
}

/** The cheapest and the dearest node that the pool may start. A reservation is reckoned as on demand: so it is billed. */
export function nodePrice(settings: AwsSettings, table: PriceTable, live: LivePrices): Price {
  const { gpu, budget, network, region } = settings;
  const kinds = gpu.capacity.map((kind) => (capacityType(kind) === "spot" ? ("spot" as const) : ("onDemand" as const)));
  const found = gpu.instanceTypes.flatMap((type) =>
    kinds.map((kind) => {
      const now = live[kind][type];
      const { autoMode, ...listed } = table.instances[type];
      return { isLive: now !== undefined, usd: (now ?? listed[kind]) + autoMode };
    }),
  );
  const endpoints = network.ecrEndpoints ? 2 * zonesOf(settings).length * table.standing.endpoint : 0;
  const { cluster, nat, smallNode } = table.standing;
  const standing = cluster + smallNode + (network.vpcId === undefined ? nat : 0) + endpoints;
  if (budget.usdPerHour !== undefined) {
    return { low: budget.usdPerHour, high: budget.usdPerHour, standing, source: "retort:budget.usdPerHour" };
  }
  const prices = found.map((price) => price.usd);
  const listed = `configs/prices.yaml of ${table.asOf}${region === table.region ? "" : `, for ${table.region}`}`;
  const source = found.every(({ isLive }) => isLive) ? "AWS's price lists, now" : listed;
  return { low: Math.min(...prices), high: Math.max(...prices), standing, source };
}

/** Asks AWS; what it does not answer, or may not, is left out: a price is no reason to stop. */
export async function livePrices(settings: AwsSettings, clients: AwsClients): Promise<LivePrices> {
  const { instanceTypes } = settings.gpu;
  const each = async (ask: (type: GpuTypeName) => Promise<number | undefined>) =>
    Object.fromEntries(
      await Promise.all(instanceTypes.map(async (type) => [type, await ask(type).catch(() => undefined)] as const)),
    );
  // The price API answers for all regions in this one.
  const pricing = new PricingClient({ region: "us-east-1", maxAttempts: 2 });
  const [onDemand, spot] = await Promise.all([
    each((type) => onDemandUsd(pricing, type, settings.region)),
    each((type) => spotUsd(clients, type)),
  ]);
  return { onDemand, spot };
}

async function onDemandUsd(client: PricingClient, type: GpuTypeName, region: string): Promise<number | undefined> {
  const wanted = {
    instanceType: type,
    regionCode: region,
    operatingSystem: "Linux",
    preInstalledSw: "NA",
    tenancy: "Shared",
    capacitystatus: "Used",
    marketoption: "OnDemand",
    licenseModel: "No License required",
  };
  const Filters = Object.entries(wanted).map(([Field, Value]) => ({ Type: "TERM_MATCH" as const, Field, Value }));
  const { PriceList = [] } = await client.send(new GetProductsCommand({ ServiceCode: "AmazonEC2", Filters }));
  // More than one product would mean that the filters say too little: no answer is better than a wrong one.
  return PriceList.length === 1 ? onDemandOf(String(PriceList[0])) : undefined;
}

const Terms = z.object({
  terms: z.object({
    OnDemand: z.record(
      z.string(),
      z.object({ priceDimensions: z.record(z.string(), z.object({ pricePerUnit: z.object({ USD: z.string() }) })) }),
    ),
  }),
});

/** USD an hour in a product of the price list (JSON). */
export function onDemandOf(product: string): number | undefined {
  const parsed = Terms.safeParse(JSON.parse(product));
  const [term] = Object.values(parsed.data?.terms.OnDemand ?? {});
  const [dimension] = Object.values(term?.priceDimensions ?? {});
  const price = Number(dimension?.pricePerUnit.USD);
  return price > 0 ? price : undefined;
}

/** The dearest zone's price of now, USD an hour. */
async function spotUsd({ ec2 }: AwsClients, type: GpuTypeName): Promise<number | undefined> {
  const { SpotPriceHistory = [] } = await ec2.send(
    new DescribeSpotPriceHistoryCommand({
      InstanceTypes: [type],
      ProductDescriptions: ["Linux/UNIX"],
      StartTime: new Date(),
    }),
  );
  const prices = SpotPriceHistory.map(({ SpotPrice }) => Number(SpotPrice)).filter((price) => price > 0);
  return prices.length > 0 ? Math.max(...prices) : undefined;
}
