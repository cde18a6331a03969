/** What stops a stack on AWS before anything is registered: settings, account and budget, each with all that is wrong. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { Moto } from "./moto";
import { ofAws } from "./options";
import { offerings, record, willingAccount } from "./recording";

let moto: Moto;

beforeAll(async () => {
  moto = await Moto.start();
  moto.gate = willingAccount;
}, 240_000);

afterAll(() => moto?.stop());

test("wrong settings are all named at once, and nothing is registered", async () => {
  const { error, resources } = await record(moto, {
    cluster: {},
    gpu: { instanceTypes: ["p4d.24xlarge"], capacity: ["on-demand", "spot"] },
    region: "Virginia",
  });
  expect(error?.split("\n").filter((line) => line.startsWith("retort:"))).toEqual([
    'retort:region: must be a region, such as us-east-1, got "Virginia"',
    expect.stringContaining("retort:cluster.accessCidrs: is missing"),
    expect.stringContaining("retort:gpu.instanceTypes.0: must be p5.4xlarge"),
    expect.stringContaining("retort:gpu.capacity: must be in the order reserved, spot, on-demand"),
  ]);
  expect(ofAws({ resources })).toEqual([]);
});

test("an account without quota, and zones without the type, are told before anything is registered", async () => {
  moto.gate = (asked) => {
    if (asked.service === "servicequotas")
      return { status: 200, type: "application/json", body: '{"Quota":{"Value":0}}' };
    return asked.action === "DescribeInstanceTypeOfferings" ? offerings("us-east-1f") : undefined;
  };
  const { error, resources } = await record(moto, {});
  moto.gate = willingAccount;
  expect(error).toContain("p5.4xlarge is offered in us-east-1f, not in us-east-1a, us-east-1b, us-east-1c");
  expect(error).toContain("is 0 vCPUs in us-east-1, and 16 are needed");
  expect(ofAws({ resources })).toEqual([]);
});

test("a run that cannot fit its budget is not started", async () => {
  const { error, resources } = await record(moto, { budget: { maxUsd: 0.5 } });
  expect(error).toMatch(/the run takes .* USD, and retort:budget.maxUsd is 0.5: it is not started/);
  expect(resources.filter(({ type }) => type === "kubernetes:batch/v1:Job")).toEqual([]);
});
