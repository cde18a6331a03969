/** A run on AWS, from an empty account: the network, the cluster, its GPUs, the buckets, rights and images, in that order. */
import { Provider as AwsProvider } from "@pulumi/aws/provider";
import { ConfigMap } from "@pulumi/kubernetes/core/v1/configMap";
import { Provider } from "@pulumi/kubernetes/provider";
import * as pulumi from "@pulumi/pulumi";
import { DATA_NAMES, type RunConfig } from "../../configs/schema";
import { bucketKeys } from "../../jobs/aws/bucketKeys";
import { accountOf, awsClients } from "../../jobs/aws/clients";
import { eksCluster, findCluster } from "../../jobs/aws/eksCluster";
import { type ByImage, imageTags } from "../../jobs/aws/images";
import { RunMoney } from "../../jobs/aws/money";
import { checkAccount } from "../../jobs/aws/preflight";
import { s3Store } from "../../jobs/s3";
import { engineKnows } from "../awaiting";
import type { Ground, Target } from "../target";
import { Access } from "./access";
import { Buckets } from "./buckets";
import { Cluster } from "./cluster";
import { GpuPool } from "./gpuPool";
import { sayIfInterrupted, whatRunsOn } from "./interruption";
import { type BucketNames, bucketsOf, clusterNameOf, partitionOf, STACK_TAG } from "./names";
import { Network } from "./network";
import { Registry } from "./registry";
import { type AwsSettings, onCluster, zonesOf } from "./settings";

/** Throws VisibleError without credentials: then nothing can be looked at. */
export async function awsTarget(settings: AwsSettings, root: string): Promise<Target> {
  const { region, namespace } = settings;
  const stack = pulumi.getStack();
  const clients = awsClients(region);
  const account = await accountOf(clients);
  const names = bucketsOf(stack, account, settings.storage);
  const existing = Object.values(settings.storage).filter((name) => name !== undefined);
  const arnOf = (keyId: string) => `arn:${partitionOf(region)}:kms:${region}:${account}:key/${keyId}`;
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
      const { base } = config.model;
      const modelBytes = await money.sizeOf(base);
      const args = { settings, stack, clients, names, tags: await imageTags(root), base, modelBytes, now: new Date() };
      await checkAccount(args, (text) => void pulumi.log.warn(text));
    },
    async ground(config) {
      const [tags, keys] = await Promise.all([imageTags(root), bucketKeys(clients.s3, existing, arnOf)]);
      return create({ settings, stack, names, keys, money, tags, config });
    },
  };
}

interface CreateArgs {
  readonly settings: AwsSettings;
  readonly stack: string;
  readonly names: BucketNames;
  /** What buckets are encrypted with that exist already. */
  readonly keys: readonly string[];
  readonly money: RunMoney;
  readonly tags: ByImage<string>;
  readonly config: RunConfig;
}

async function create({ settings, stack, names, keys, money, tags, config }: CreateArgs): Promise<Ground> {
  const { region, network: net, gpu, namespace } = settings;
  const clusterName = clusterNameOf(stack);
  const partition = partitionOf(region);
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
  const buckets = new Buckets("storage", { partition, names, existing }, inAws);
  const rights = { partition, buckets: names, run: config.name, elsewhere: elsewhere(config) };
  const access = new Access(
    "rights",
    {
      clusterName: cluster.cluster.name,
      namespace,
      rights,
      keyArns: [...(buckets.keyArn ? [buckets.keyArn] : []), ...keys],
    },
    inAws,
  );
  const policies = new ConfigMap("network-policies", enforced, { provider: kubernetes, dependsOn: [cluster] });
  const registry = new Registry("images", { given: settings.images, tags, prefix: clusterName }, inAws);

  const images = await registry.images();
  if (!pulumi.runtime.isDryRun()) await Promise.all(buckets.made.map(({ id }) => engineKnows(id)));
  const { high: usdPerHour } = await money.price();
  let watched = () => {};
  return {
    settings: onCluster(settings, { bucket: names.results, images, usdPerHour: usdPerHour * gpu.nodes }),
    provider: kubernetes,
    dependsOn: [pool, access, policies],
    async mayStart(stages) {
      await money.mayStart(config, stages);
      if (stages.length > 0 && !pulumi.runtime.isDryRun()) {
        watched = sayIfInterrupted(whatRunsOn(stack, usdPerHour * gpu.nodes));
      }
    },
    async close(specs) {
      await money.close(specs);
      watched();
    },
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
