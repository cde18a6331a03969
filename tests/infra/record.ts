/** A program for the tests: runs infra/index.ts as the engine does, under mocks, and prints all that it registered as JSON. */
import { resolve } from "node:path";
import type { V1ConfigMap, V1Job } from "@kubernetes/client-node";
import * as pulumi from "@pulumi/pulumi";

export interface Input {
  /** Settings of the stack, such as {"retort:target": "aws"}; blocks as objects. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Whether images are still to be built: a preview does not know their digests then. */
  readonly withoutImages?: boolean;
  /** `pulumi up` rather than a preview: Jobs and ConfigMaps are then really made, at the API that the kube config names. */
  readonly up?: boolean;
}

export interface Recorded {
  readonly type: string;
  readonly name: string;
  readonly inputs: Record<string, unknown>;
  /** `type name` of what it is made after. */
  readonly dependsOn: readonly string[];
  readonly parent: string | undefined;
  readonly provider: string | undefined;
  readonly retainOnDelete: boolean;
  readonly protect: boolean;
  readonly deleteTimeout: string | undefined;
}

export interface Recording {
  readonly resources: readonly Recorded[];
  readonly outputs?: unknown;
  readonly error?: string;
}

const DIGEST = `sha256:${"ab".repeat(32)}`;

/** What AWS would say of a new resource, as far as others ask. */
function stateOf(type: string, name: string, inputs: Record<string, unknown>, withoutImages: boolean) {
  const arn = `arn:aws:test:us-east-1:123456789012:${type.split(":").at(-1)?.toLowerCase()}/${name}`;
  switch (type) {
    case "aws:eks/cluster:Cluster":
      return {
        ...inputs,
        arn,
        endpoint: "https://cluster.example.com",
        certificateAuthority: { data: "Y2E=" },
        vpcConfig: { ...(inputs["vpcConfig"] as object), clusterSecurityGroupId: "sg-0cluster" },
      };
    case "aws:iam/role:Role":
      return { ...inputs, arn: `arn:aws:iam::123456789012:role/${name}`, name: `${name}-1a2b3c4` };
    case "aws:kms/key:Key":
      return { ...inputs, arn: `arn:aws:kms:us-east-1:123456789012:key/${name}` };
    case "aws:ecr/repository:Repository":
      return {
        ...inputs,
        arn,
        registryId: "123456789012",
        repositoryUrl: `123456789012.dkr.ecr.us-east-1.amazonaws.com/${inputs["name"]}`,
      };
    case "docker-build:index:Image":
      return withoutImages ? inputs : { ...inputs, ref: `${(inputs["tags"] as string[])[0]}@${DIGEST}` };
    default:
      return { ...inputs, arn };
  }
}

/** Makes a Job or a ConfigMap, as the engine's provider does; one that is there already stays as it is. */
async function make(type: string, inputs: unknown): Promise<void> {
  const { BatchV1Api, CoreV1Api, KubeConfig } = await import("@kubernetes/client-node");
  const config = new KubeConfig();
  config.loadFromDefault();
  const unlessThere = (error: { code?: number }) => {
    if (error.code !== 409) throw error;
  };
  if (type === "kubernetes:batch/v1:Job") {
    const body = inputs as V1Job;
    const namespace = body.metadata?.namespace ?? "";
    await config.makeApiClient(BatchV1Api).createNamespacedJob({ namespace, body }).catch(unlessThere);
  } else if (type === "kubernetes:core/v1:ConfigMap") {
    const body = inputs as V1ConfigMap;
    const namespace = body.metadata?.namespace ?? "";
    await config.makeApiClient(CoreV1Api).createNamespacedConfigMap({ namespace, body }).catch(unlessThere);
  }
}

const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value ?? {}));

async function main(input: Input): Promise<Recording> {
  const resources = new Map<string, Recorded>();
  const inputsOf = new Map<string, { inputs: Record<string, unknown>; provider: string | undefined }>();
  const names = new Map<pulumi.Resource, string>();
  const config = Object.entries(input.config).map(([key, value]) => [
    key,
    typeof value === "string" ? value : JSON.stringify(value),
  ]);
  pulumi.runtime.setAllConfig(Object.fromEntries(config));
  const mocks: pulumi.runtime.Mocks = {
    async newResource({ type, name, inputs, provider }) {
      inputsOf.set(`${type} ${name}`, { inputs: plain(inputs) as Record<string, unknown>, provider });
      if (input.up) await make(type, inputs);
      return { id: `${name}-id`, state: stateOf(type, name, inputs, input.withoutImages ?? false) };
    },
    call: ({ token, inputs }) =>
      token === "aws:ec2/getVpc:getVpc" ? { ...inputs, cidrBlock: "10.0.0.0/16" } : { userName: "AWS", password: "p" },
  };
  pulumi.runtime.setMocks(mocks, "retort", "dev", !input.up);
  const watch: pulumi.ResourceTransformation = ({ resource, type, name, opts }) => {
    const key = `${type} ${name}`;
    names.set(resource, key);
    const after = (opts.dependsOn ?? []) as pulumi.Resource[] | pulumi.Resource;
    const { customTimeouts } = opts as pulumi.CustomResourceOptions;
    resources.set(key, {
      type,
      name,
      inputs: {},
      dependsOn: [after].flat().map((one) => names.get(one) ?? "?"),
      parent: opts.parent && names.get(opts.parent),
      provider: undefined,
      retainOnDelete: opts.retainOnDelete ?? false,
      protect: opts.protect ?? false,
      deleteTimeout: customTimeouts?.delete,
    });
    return undefined;
  };
  let outputs: unknown;
  let error: string | undefined;
  try {
    const program = require(resolve("infra/start.cjs")) as () => Promise<unknown>;
    await pulumi.runtime.runInPulumiStack(async () => {
      pulumi.runtime.registerStackTransformation(watch);
      outputs = plain(await program());
      return {};
    });
  } catch (thrown) {
    error = (thrown as Error).message;
  }
  await pulumi.runtime.disconnect();
  const found = [...resources].map(([key, recorded]) => ({ ...recorded, ...inputsOf.get(key) }));
  return { resources: found, ...(outputs ? { outputs } : {}), ...(error ? { error } : {}) };
}

main(JSON.parse(process.argv[3] ?? "{}") as Input).then(
  (recording) => {
    process.stdout.write(`\n${JSON.stringify(recording)}\n`, () => process.exit(0));
  },
  (error: Error) => {
    process.stderr.write(`${error.stack}\n`);
    process.exit(1);
  },
);
