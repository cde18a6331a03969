/** The GPU pool: valid by its CRDs whatever the settings, gone soon after its last pod, and bounded. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { checkerOf, karpenterCrd, nodeClassCrd } from "./crds";
import { anyGpu, manifestsOf } from "./pools";

test("is gone within two minutes of its last pod, and survives no surprise", async () => {
  const { pool } = await manifestsOf({});
  expect(pool.spec).toMatchObject({
    limits: { "nvidia.com/gpu": "1" },
    disruption: {
      consolidationPolicy: "WhenEmpty",
      consolidateAfter: "60s",
      budgets: [
        { nodes: "100%", reasons: ["Empty"] },
        { nodes: "0", reasons: ["Drifted", "Underutilized"] },
      ],
    },
  });
});

test("never has more GPUs than the run's nodes, of the largest type it may use", async () => {
  const { pool } = await manifestsOf({ instanceTypes: ["p5.48xlarge"], nodes: 2 });
  expect(pool.spec["limits"]).toEqual({ "nvidia.com/gpu": "16" });
});

test("NodeClass: valid by AWS's guide for any settings; what is not in it is refused", async () => {
  const check = checkerOf(nodeClassCrd());
  await fc.assert(
    fc.asyncProperty(anyGpu, async (gpu) => {
      expect(check((await manifestsOf(gpu)).class)).toEqual([]);
    }),
    { numRuns: 50 },
  );
  const { class: valid } = await manifestsOf({});
  const broken = {
    ...valid,
    spec: { ...valid.spec, ephemeralStorage: { size: "80" }, networkPolicy: "Allow", ami: 1 },
  };
  expect(check(broken).map((line) => line.split(":")[0])).toEqual([
    "spec.ephemeralStorage.size",
    "spec.networkPolicy",
    "spec",
  ]);
});

test.for(["nodepools", "nodeclaims"] as const)(
  "%s: valid by Karpenter's own CRD for any settings",
  async (plural, { skip }) => {
    const crd = karpenterCrd(plural);
    if ("missing" in crd) return skip(`${crd.missing}; npm run test:cluster asks a real API server`);
    const check = checkerOf(crd.text);
    const kind = plural === "nodepools" ? "pool" : "claim";
    await fc.assert(
      fc.asyncProperty(anyGpu, async (gpu) => {
        expect(check((await manifestsOf(gpu))[kind])).toEqual([]);
      }),
      { numRuns: 50 },
    );
    const { [kind]: valid } = await manifestsOf({});
    expect(check({ ...valid, spec: { ...valid.spec, surprise: 1, template: 2, requirements: 3 } })).not.toEqual([]);
  },
);
