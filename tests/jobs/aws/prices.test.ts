/** What a node costs: from AWS's real HTTP answers, whatever they are, else from the dated table, and never in silence. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { AwsSettings } from "../../../infra/aws/settings";
import { type AwsClients, awsClients } from "../../../jobs/aws/clients";
import { livePrices, priceIn } from "../../../jobs/aws/livePrices";
import { loadPrices, nodePrice } from "../../../jobs/aws/prices";
import { type Gate, json, Moto, refusal } from "../../infra/aws/moto";

const FILE = join(__dirname, "../../../configs/prices.yaml");
const TABLE = loadPrices(FILE);
const NO_ANSWER = { onDemand: {}, spot: {}, notes: [] };
const DAY_AFTER = new Date("2026-07-21T00:00:00Z");

let moto: Moto;
let clients: AwsClients;
beforeAll(async () => {
  moto = await Moto.start();
  moto.use();
  clients = awsClients("us-east-1");
}, 120_000);
afterAll(() => moto?.stop());
afterEach(() => {
  moto.gate = () => undefined;
  moto.asked.length = 0;
});

const settings = (more: object = {}) =>
  AwsSettings.parse({ target: "aws", run: "run.yaml", cluster: { accessCidrs: [] }, ...more });
const asked = (more: object = {}) => livePrices(settings(more), clients);
const spot = { gpu: { capacity: ["spot", "on-demand"] } };

/** A product as the price list has it, shortened. */
const product = (usd: string, sku = "AB12") => {
  const dimension = { unit: "Hrs", description: `$${usd} per On Demand Linux p5.4xlarge`, pricePerUnit: { USD: usd } };
  const term = {
    priceDimensions: { [`${sku}.JRTCKXETXF.6YS6EN2CT7`]: dimension },
    sku,
    effectiveDate: "2026-07-01T00:00:00Z",
  };
  const attributes = {
    instanceType: "p5.4xlarge",
    regionCode: "us-east-1",
    operatingSystem: "Linux",
    tenancy: "Shared",
  };
  return JSON.stringify({
    product: { productFamily: "Compute Instance", attributes, sku },
    terms: { OnDemand: { [`${sku}.JRTCKXETXF`]: term } },
  });
};

const history = (items: readonly [zone: string, usd: string, time: string][], next = "") => ({
  status: 200,
  body: `<DescribeSpotPriceHistoryResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><spotPriceHistorySet>${items
    .map(
      ([zone, usd, time]) =>
        `<item><instanceType>p5.4xlarge</instanceType><productDescription>Linux/UNIX</productDescription><spotPrice>${usd}</spotPrice><timestamp>${time}</timestamp><availabilityZone>${zone}</availabilityZone></item>`,
    )
    .join("")}</spotPriceHistorySet><nextToken>${next}</nextToken></DescribeSpotPriceHistoryResponse>`,
});

const answers =
  (products: Gate, spots: Gate = () => undefined): Gate =>
  (request) =>
    request.service === "pricing"
      ? products(request)
      : request.action === "DescribeSpotPriceHistory"
        ? spots(request)
        : undefined;

describe("on demand", () => {
  test("is the product's price, asked of the price list in its own region for the stack's", async () => {
    moto.gate = answers(() => json({ PriceList: [product("6.8800000000")] }));
    expect(await asked({ region: "us-east-2" })).toEqual({
      onDemand: { "p5.4xlarge": { low: 6.88, high: 6.88 } },
      spot: {},
      notes: [],
    });
    const [request] = moto.asked.filter(({ service }) => service === "pricing");
    expect(request?.action).toBe("GetProducts");
    const filters = JSON.parse(request?.body ?? "{}").Filters as { Field: string; Value: string }[];
    expect(filters).toContainEqual({ Type: "TERM_MATCH", Field: "regionCode", Value: "us-east-2" });
    expect(filters).toContainEqual({ Type: "TERM_MATCH", Field: "capacitystatus", Value: "Used" });
  });

  test("is read to the last page; the same price twice is one", async () => {
    moto.gate = answers(({ body }) =>
      body.includes("page-2")
        ? json({ PriceList: [product("6.88", "B")] })
        : json({ PriceList: [product("6.88", "A")], NextToken: "page-2" }),
    );
    expect((await asked()).onDemand).toEqual({ "p5.4xlarge": { low: 6.88, high: 6.88 } });
    expect(moto.asked.filter(({ service }) => service === "pricing")).toHaveLength(2);
  });

  test("with two prices is no answer, and neither is a region without the type; both are said", async () => {
    moto.gate = answers(() => json({ PriceList: [product("6.88"), product("7.5", "B")] }));
    expect(await asked()).toEqual({
      ...NO_ANSWER,
      notes: ["AWS's price list has 2 prices of p5.4xlarge in us-east-1"],
    });
    moto.gate = answers(() => json({ PriceList: [] }));
    expect(await asked()).toEqual({ ...NO_ANSWER, notes: ["AWS's price list has no p5.4xlarge in us-east-1"] });
  });

  test("outlives throttling", async () => {
    let refused = 0;
    moto.gate = answers(() => {
      if (refused >= 2) return json({ PriceList: [product("6.88")] });
      refused += 1;
      return json({ __type: "ThrottlingException", message: "Rate exceeded" }, 400);
    });
    expect(await asked()).toMatchObject({ onDemand: { "p5.4xlarge": { low: 6.88 } }, notes: [] });
    expect(refused).toBe(2);
  });

  test("with expired credentials, or without the right, falls back to the table, and says so once", async () => {
    moto.gate = answers(() => json({ __type: "ExpiredTokenException", message: "expired" }, 400));
    const expired = await asked({ gpu: { instanceTypes: ["p5.4xlarge", "p5.48xlarge"] } });
    expect(expired.notes).toEqual([
      "AWS's price list could not be asked: the AWS credentials have expired: aws sso login, or renew them",
    ]);
    expect(nodePrice(settings(), TABLE, expired, DAY_AFTER)).toMatchObject({
      high: 7.21,
      source: "configs/prices.yaml of 2026-07-20",
      notes: expired.notes,
    });
    moto.gate = answers(() => json({ __type: "AccessDeniedException", message: "not authorized" }, 400));
    expect((await asked()).notes).toEqual([expect.stringContaining("AccessDeniedException: not authorized")]);
  });

  test("is a price above 0 of a product", () => {
    expect(priceIn(product("6.8800000000"))).toBe(6.88);
    expect(priceIn(product("0.0000000000"))).toBeUndefined();
    expect(priceIn("{}")).toBeUndefined();
  });
});

describe("spot", () => {
  const onDemand = () => json({ PriceList: [product("6.88")] });

  test("ranges over the pool's zones, each with its newest price, over all pages", async () => {
    const first = history(
      [
        ["us-east-1a", "2.5", "2026-11-22T10:00:00Z"],
        ["us-east-1a", "2.1", "2026-11-22T12:00:00Z"],
      ],
      "more",
    );
    const second = history([
      ["us-east-1b", "3.3", "2026-11-22T11:00:00Z"],
      ["us-east-1f", "0.9", "2026-11-22T11:00:00Z"],
    ]);
    moto.gate = answers(onDemand, ({ body }) => (body.includes("NextToken=more") ? second : first));
    const live = await asked(spot);
    expect(live).toEqual({
      onDemand: { "p5.4xlarge": { low: 6.88, high: 6.88 } },
      spot: { "p5.4xlarge": { low: 2.1, high: 3.3 } },
      notes: [],
    });
    const price = nodePrice(settings(spot), TABLE, live);
    expect(price.low).toBeCloseTo(2.1 + 0.33);
    expect(price.high).toBeCloseTo(6.88 + 0.33);
  });

  test("that AWS does not name is said, and taken from the table", async () => {
    moto.gate = answers(onDemand, () => history([]));
    const live = await asked({ gpu: { capacity: ["spot"], zones: ["us-east-1a"] } });
    expect(live.notes).toEqual(["AWS names no spot price of p5.4xlarge in us-east-1a: there may be none"]);
    expect(nodePrice(settings({ gpu: { capacity: ["spot"] } }), TABLE, live).low).toBeCloseTo(2.43);
  });

  test("is not asked where the pool takes none", async () => {
    moto.gate = answers(onDemand, () => refusal(400, "RequestExpired"));
    expect((await asked()).notes).toEqual([]);
    expect(moto.asked.some(({ action }) => action === "DescribeSpotPriceHistory")).toBe(false);
  });
});

describe("the table", () => {
  test("is for its region and its day: another region, and an age of months, are said", () => {
    const price = nodePrice(settings({ region: "eu-north-1" }), TABLE, NO_ANSWER, new Date("2026-11-22T00:00:00Z"));
    expect(price.notes).toEqual([
      "configs/prices.yaml is 125 days old: correct it, and its asOf, if prices have changed",
      "configs/prices.yaml is for us-east-1: in eu-north-1 a node may cost more",
    ]);
    expect(nodePrice(settings(), TABLE, NO_ANSWER, DAY_AFTER).notes).toEqual([]);
    const live = { ...NO_ANSWER, onDemand: { "p5.4xlarge": { low: 7, high: 7 } } };
    expect(nodePrice(settings(), TABLE, live, new Date("2027-11-22")).notes).toEqual([]);
  });

  test("is the user's to correct, and a mistake in it is named by its key", () => {
    const directory = mkdtempSync(join(tmpdir(), "retort-prices-"));
    const file = join(directory, "prices.yaml");
    writeFileSync(
      file,
      readFileSync(FILE, "utf8").replace("onDemand: 6.88", "onDemand: 5.5").replaceAll("2026-07-20", "2026-11-20"),
    );
    expect(nodePrice(settings(), loadPrices(file), NO_ANSWER, new Date("2026-11-22"))).toMatchObject({
      high: 5.83,
      notes: [],
    });
    writeFileSync(file, readFileSync(FILE, "utf8").replace("onDemand: 6.88", "onDemand: dear"));
    expect(() => loadPrices(file)).toThrow(/instances\.p5\.4xlarge\.onDemand: /);
    rmSync(directory, { recursive: true });
  });

  test("gives way to the price that a stack names", () => {
    const own = nodePrice(settings({ budget: { usdPerHour: 5 } }), TABLE, NO_ANSWER);
    expect(own).toMatchObject({ low: 5, high: 5, source: "retort:budget.usdPerHour", notes: [] });
  });

  test("reckons a reservation as on demand, and says that it is billed while nothing runs", () => {
    const price = nodePrice(settings({ gpu: { capacity: [{ reserved: ["cr-0a"] }] } }), TABLE, NO_ANSWER, DAY_AFTER);
    expect(price.high).toBeCloseTo(7.21);
    expect(price.notes).toEqual([expect.stringMatching(/^a reservation is billed as long as it exists/)]);
  });

  test("counts what stands beside the node: less in a network that was there, more with endpoints", () => {
    const standing = (more: object) => nodePrice(settings(more), TABLE, NO_ANSWER).standing;
    expect(standing({})).toBeCloseTo(0.26);
    expect(standing({ network: { vpcId: "vpc-0a", subnetIds: ["subnet-0a", "subnet-0b"] } })).toBeCloseTo(0.21);
    expect(standing({ network: { ecrEndpoints: true } })).toBeCloseTo(0.32);
  });
});
