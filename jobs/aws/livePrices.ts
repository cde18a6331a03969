/** What AWS asks for an hour of a GPU machine right now: its price list on demand, its spot history by zone. */
import { DescribeSpotPriceHistoryCommand, type SpotPrice } from "@aws-sdk/client-ec2";
import { GetProductsCommand, PricingClient } from "@aws-sdk/client-pricing";
import { z } from "zod";
import type { GpuTypeName } from "../../infra/aws/gpuTypes";
import { type AwsSettings, capacityType, zonesOf } from "../../infra/aws/settings";
import type { Range } from "../estimate";
import { type AwsClients, credentialProblem } from "./clients";

/** In USD an hour; what AWS does not say is left out, and `notes` say why. */
export interface LivePrices {
  readonly onDemand: Partial<Record<GpuTypeName, Range>>;
  readonly spot: Partial<Record<GpuTypeName, Range>>;
  /** For people, each once. */
  readonly notes: readonly string[];
}

/** A price, or why there is none. */
type Answer = Range | string;

/** The SDK's own back-off outlives throttling. */
const ATTEMPTS = 5;

/** Asks AWS for the kinds of capacity that the pool may use. It never throws: a price is no reason to stop. */
export async function livePrices(settings: AwsSettings, clients: AwsClients): Promise<LivePrices> {
  const kinds = settings.gpu.capacity.map(capacityType);
  const notes = new Set<string>();
  const each = async (what: string, ask: (type: GpuTypeName) => Promise<Answer>) => {
    const found = await Promise.all(
      settings.gpu.instanceTypes.map(async (type) => {
        const answer = await ask(type).catch((error: Error) => refused(what, error));
        if (typeof answer !== "string") return [[type, answer] as const];
        notes.add(answer);
        return [];
      }),
    );
    return Object.fromEntries(found.flat());
  };
  // The price API answers for all regions in this one.
  const pricing = new PricingClient({ region: "us-east-1", maxAttempts: ATTEMPTS });
  const [onDemand, spot] = await Promise.all([
    kinds.some((kind) => kind !== "spot")
      ? each("AWS's price list", (type) => onDemandOf(pricing, type, settings.region))
      : {},
    kinds.includes("spot") ? each("AWS's spot prices", (type) => spotOf(clients, type, settings)) : {},
  ]);
  return { onDemand, spot, notes: [...notes] };
}

const refused = (what: string, error: Error): string =>
  `${what} could not be asked: ${credentialProblem(error) ?? `${error.name}: ${error.message}`}`;

async function onDemandOf(client: PricingClient, type: GpuTypeName, region: string): Promise<Answer> {
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
  const products: string[] = [];
  let NextToken: string | undefined;
  do {
    const page = await client.send(new GetProductsCommand({ ServiceCode: "AmazonEC2", Filters, NextToken }));
    products.push(...(page.PriceList ?? []).map(String));
    NextToken = page.NextToken || undefined;
  } while (NextToken);
  const prices = [...new Set(products.flatMap((product) => priceIn(product) ?? []))];
  const [price, ...others] = prices;
  if (price === undefined) return `AWS's price list has no ${type} in ${region}`;
  // The filters are meant to leave one price: no answer is better than a wrong one.
  if (others.length > 0) return `AWS's price list has ${prices.length} prices of ${type} in ${region}`;
  return { low: price, high: price };
}

const Terms = z.object({
  terms: z.object({
    OnDemand: z.record(
      z.string(),
      z.object({ priceDimensions: z.record(z.string(), z.object({ pricePerUnit: z.object({ USD: z.string() }) })) }),
    ),
  }),
});

/** USD an hour in a product of the price list (JSON); undefined if it names none above 0. */
export function priceIn(product: string): number | undefined {
  const parsed = Terms.safeParse(JSON.parse(product));
  const [term] = Object.values(parsed.data?.terms.OnDemand ?? {});
  const [dimension] = Object.values(term?.priceDimensions ?? {});
  const price = Number(dimension?.pricePerUnit.USD);
  return price > 0 ? price : undefined;
}

/** From the cheapest to the dearest of the pool's zones, each with its newest price. */
async function spotOf({ ec2 }: AwsClients, type: GpuTypeName, settings: AwsSettings): Promise<Answer> {
  const zones = settings.gpu.zones ?? zonesOf(settings);
  const history: SpotPrice[] = [];
  let NextToken: string | undefined;
  do {
    const page = await ec2.send(
      new DescribeSpotPriceHistoryCommand({
        InstanceTypes: [type],
        ProductDescriptions: ["Linux/UNIX"],
        Filters: [{ Name: "availability-zone", Values: [...zones] }],
        StartTime: new Date(), // AWS adds the price that holds at this time
        NextToken,
      }),
    );
    history.push(...(page.SpotPriceHistory ?? []));
    NextToken = page.NextToken || undefined;
  } while (NextToken);
  const newest = new Map<string, number>();
  for (const { AvailabilityZone = "", SpotPrice: price } of history.sort((a, b) => timeOf(a) - timeOf(b))) {
    if (zones.includes(AvailabilityZone) && Number(price) > 0) newest.set(AvailabilityZone, Number(price));
  }
  if (newest.size === 0) return `AWS names no spot price of ${type} in ${zones.join(", ")}: there may be none`;
  return { low: Math.min(...newest.values()), high: Math.max(...newest.values()) };
}

const timeOf = ({ Timestamp }: SpotPrice): number => Timestamp?.getTime() ?? 0;
