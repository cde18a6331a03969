/** A run on AWS, from an empty account: the network, the cluster, its GPUs, the buckets, rights and images, in that order. */
import { join } from "node:path";
import { Provider as AwsProvider } from "@pulumi/aws/provider";
import { ConfigMap } from "@pulumi/kubernetes/core/v1/configMap";
import { Provider } from "@pulumi/kubernetes/provider";
import * as pulumi from "@pulumi/pulumi";
import { DATA_NAMES, type RunConfig } from "../../configs/schema";
import { accountOf, awsClients } from "../../jobs/aws/clients";
import { eksCluster, findCluster } from "../../jobs/aws/eksCluster";
import { RunMoney } from "../../jobs/aws/money";
import { checkAccount } from "../../jobs/aws/preflight";
import { clusterNameOf, STACK_TAG } from "../../jobs/aws/teardown";
import { Hashes } from "../../jobs/hashing";
import { s3Store } from "../../jobs/s3";
import { isNoSource } from "../../jobs/sources";
import type { Ground, Target } from "../target";
import { Access } from "./access";
import { type BucketNames, Buckets, bucketNames } from "./buckets";
import { Cluster } from "./cluster";
import { GpuPool } from "./gpuPool";
import { Network } from "./network";
import { IMAGE_NAMES, type ImageName, Registry } from "./registry";
import { type AwsSettings, onCluster, zonesOf } from "./settings";

/** Throws VisibleError without credentials: then nothing can be looked at. */
export async function awsTarget(settings: AwsSettings, root: string): Promise<Target> {
  const { region, namespace } = settings;
  const stack = pulumi.getStack();
  const clients = awsClients(region);
  const names = { ...bucketNames(stack, await accountOf(clients)), ...given(settings.storage) };
  const store = s3Store({ region, toBeMade: true });
  const say = (text: string) => void pulumi.log.info(text);
  // A run that leaves something behind that costs money has failed, whatever its stages came to.
  const complain = (text: string) => void pulumi.log.error(text);
  const runs = `s3://${names.results}/runs`;
  const money = new RunMoney({ settings, clients, root, stack, store, runs, say, complain });
  return {
    storage: { base: `s3://${names.data}`, runs, store },
    cluster: eksCluster(() => findCluster(clients.eks, clusterNameOf(stack), region), namespace),
    async check(config) {
      const modelBytes = await money.sizeOf(config.model.base);
      await checkAccount({ settings, clients, modelBytes, now: new Date() }, (text) => void pulumi.log.warn(text));
    },
    ground: async (config) => create({ settings, stack, names, money, sources: await imageSources(root), config }),
  };
}

interface CreateArgs {
  readonly settings: AwsSettings;
  readonly stack: string;
  readonly names: BucketNames;
  readonly money: RunMoney;
  readonly sources: Readonly<Record<ImageName, string>>;
  readonly config: RunConfig;
}

async function create({ settings, stack, names, money, sources, config }: CreateArgs): Promise<Ground> {
  const { region, network: net, gpu, namespace } = settings;
  const clusterName = clusterNameOf(stack);
  const zones = zonesOf(settings);
  const aws = new AwsProvider("aws", {
    region,
    defaultTags: { tags: { [STACK_TAG]: stack, "retort:project": "retort", ...settings.tags } },
  });
  const inAws = { providers: { aws } };

  const network = new Network("network", { ...net, region, zones }, inAws);
  const { subnetIds, routes } = network;
  const cluster = new Cluster("cluster", { clusterName, region, subnetIds, routes, settings: settings.cluster }, inAws);
  const kubernetes = new Provider(
    "kubernetes",
    { kubeconfig: cluster.kubeconfig },
    { dependsOn: [...cluster.entries] },
  );
  const { nodeRoleName } = cluster;
  const { clusterSecurityGroupId: securityGroupId } = cluster.cluster.vpcConfig;
  const pool = new GpuPool(
    "gpu",
    { gpu, zones, nodeRoleName, subnetIds, securityGroupId },
    { providers: { kubernetes }, dependsOn: [cluster] },
  );
  const existing = { data: settings.storage.data !== undefined, results: settings.storage.results !== undefined };
  const buckets = new Buckets("storage", { names, existing }, inAws);
  const rights = { buckets: names, run: config.name, elsewhere: elsewhere(config) };
  const access = new Access(
    "rights",
    { clusterName: cluster.cluster.name, namespace, rights, keyArn: buckets.keyArn },
    inAws,
  );
  const policies = new ConfigMap("network-policies", enforced, { provider: kubernetes, dependsOn: [cluster] });
  const registry = new Registry("images", { given: settings.images, sources, prefix: clusterName }, inAws);

  const images = await registry.images();
  const { high: usdPerHour } = await money.price();
  return {
    settings: onCluster(settings, { bucket: names.results, images, usdPerHour: usdPerHour * gpu.nodes }),
    provider: kubernetes,
    dependsOn: [pool, access, policies],
    storeIsThere: async () => {
      await Promise.all(buckets.made.map(({ id }) => new Promise((resolve) => id.apply(resolve))));
    },
    mayStart: (stages) => money.mayStart(config, stages),
    close: (specs) => money.close(specs),
  };
}

/** Without it EKS Auto Mode takes network policies and enforces none. */
const enforced = {
  metadata: { name: "amazon-vpc-cni", namespace: "kube-system" },
  data: { "enable-network-policy-controller": "true" },
};

/** What a run reads in S3 beside the stack's own buckets. */
export const elsewhere = ({ model, data }: RunConfig): string[] =>
  [model.base, ...DATA_NAMES.map((name) => data[name] ?? "")].filter((place) => place.startsWith("s3://"));

const given = ({ data, results }: AwsSettings["storage"]) => ({ ...(data && { data }), ...(results && { results }) });

/** A hash of all that an image is built from. */
async function imageSources(root: string): Promise<Readonly<Record<ImageName, string>>> {
  const hashes = await Hashes.load(join(root, ".cache/hashes.json"));
  const trees: Record<ImageName, string[]> = {
    trainer: ["trainer"],
    evaluator: ["trainer", "evaluator"],
    tensorboard: ["tensorboard"],
  };
  const of = async (image: ImageName) =>
    hashes.ofTrees(
      trees[image].map((tree) => join(root, "images", tree)),
      (name) => name !== "Dockerfile" && isNoSource(name),
    );
  const found = await Promise.all(IMAGE_NAMES.map(async (image) => [image, await of(image)] as const));
  await hashes.save();
  return Object.fromEntries(found) as Record<ImageName, string>;
}
