/** What AWS still has of a stack and bills for, found by its tags: one look for each kind of thing. */
import {
  DescribeAddressesCommand,
  DescribeNatGatewaysCommand,
  DescribeNetworkInterfacesCommand,
  DescribeVolumesCommand,
  DescribeVpcEndpointsCommand,
} from "@aws-sdk/client-ec2";
import { DescribeClusterCommand } from "@aws-sdk/client-eks";
import { DescribeLoadBalancersCommand, DescribeTagsCommand } from "@aws-sdk/client-elastic-load-balancing-v2";
import { clusterNameOf, STACK_TAG } from "../../infra/aws/names";
import { VisibleError } from "../visibleError";
import { type AwsClients, credentialProblem } from "./clients";
import { poolNodes } from "./eksCluster";
import { described, gpuMachines } from "./gpuCapacity";
import { CLUSTER_TAG, isThere, machinesOf } from "./gpuNodes";

export interface Leftovers {
  /** Each costs money, such as "instance i-0abc (p5.4xlarge, running)". */
  readonly found: readonly string[];
  /** What could not be looked at, and why: nobody knows whether it is there. */
  readonly unseen: readonly string[];
}

interface Tagged {
  readonly key: string;
  readonly value: string;
}

/** What marks a thing as the stack's: made by its program, by its cluster, or by Kubernetes in it. */
const tagsOf = (stack: string): Tagged[] => [
  { key: STACK_TAG, value: stack },
  { key: CLUSTER_TAG, value: clusterNameOf(stack) },
  { key: `kubernetes.io/cluster/${clusterNameOf(stack)}`, value: "owned" },
];

type Look = (clients: AwsClients, stack: string) => Promise<string[]>;

const EVERYTHING: Readonly<Record<string, Look>> = {
  instances: async ({ ec2 }, stack) => (await machinesOf(ec2, clusterNameOf(stack))).filter(isThere).map(described),
  volumes: (clients, stack) => byTag(stack, (filter) => volumes(clients, filter)),
  interfaces: (clients, stack) => byTag(stack, (filter) => interfaces(clients, filter)),
  "NAT gateways": (clients, stack) => byTag(stack, (filter) => gateways(clients, filter)),
  addresses: (clients, stack) => byTag(stack, (filter) => addresses(clients, filter)),
  endpoints: (clients, stack) => byTag(stack, (filter) => endpoints(clients, filter)),
  "load balancers": (clients, stack) => loadBalancers(clients, tagsOf(stack)),
  "the cluster": cluster,
};

const GPU: Readonly<Record<string, Look>> = {
  instances: gpuMachines,
  "the cluster's nodes": ({ eks, region }, stack) => poolNodes(eks, clusterNameOf(stack), region),
};

/** Everything of a stack that is billed and not gone. Throws VisibleError if the credentials are no good. */
export const leftovers = (clients: AwsClients, stack: string): Promise<Leftovers> => lookAt(EVERYTHING, clients, stack);

/** GPU capacity alone: by EC2, and by the cluster's own word. */
export const gpuLeftovers = (clients: AwsClients, stack: string): Promise<Leftovers> => lookAt(GPU, clients, stack);

async function lookAt(looks: Readonly<Record<string, Look>>, clients: AwsClients, stack: string): Promise<Leftovers> {
  const found: string[] = [];
  const unseen: string[] = [];
  const each = Object.entries(looks).map(async ([what, look]) => {
    try {
      found.push(...(await look(clients, stack)));
    } catch (error) {
      const { name, message } = error as Error;
      const credentials = credentialProblem(error as Error);
      if (credentials) throw new VisibleError(credentials);
      unseen.push(`${what}: ${name}: ${message}`);
    }
  });
  await Promise.all(each);
  return { found: [...new Set(found)].sort(), unseen: unseen.sort() };
}

type TagFilter = { readonly Name: string; readonly Values: string[] };

/** The API of EC2 takes one value of one tag at a time: several filters must all fit. */
async function byTag(stack: string, ask: (filter: TagFilter) => Promise<string[]>): Promise<string[]> {
  const found = await Promise.all(tagsOf(stack).map(({ key, value }) => ask({ Name: `tag:${key}`, Values: [value] })));
  return found.flat();
}

async function volumes({ ec2 }: AwsClients, filter: TagFilter): Promise<string[]> {
  const all = await everyPage(async (NextToken) => {
    const page = await ec2.send(new DescribeVolumesCommand({ Filters: [filter], NextToken }));
    return { items: page.Volumes, next: page.NextToken };
  });
  return all.map(({ VolumeId, Size, State }) => `volume ${VolumeId} (${Size} GiB, ${State})`);
}

async function interfaces({ ec2 }: AwsClients, filter: TagFilter): Promise<string[]> {
  const all = await everyPage(async (NextToken) => {
    const page = await ec2.send(new DescribeNetworkInterfacesCommand({ Filters: [filter], NextToken }));
    return { items: page.NetworkInterfaces, next: page.NextToken };
  });
  return all.map(({ NetworkInterfaceId, Status }) => `interface ${NetworkInterfaceId} (${Status})`);
}

async function gateways({ ec2 }: AwsClients, filter: TagFilter): Promise<string[]> {
  const all = await everyPage(async (NextToken) => {
    const page = await ec2.send(new DescribeNatGatewaysCommand({ Filter: [filter], NextToken }));
    return { items: page.NatGateways, next: page.NextToken };
  });
  const left = all.filter(({ State }) => State !== "deleted");
  return left.map(({ NatGatewayId, State }) => `NAT gateway ${NatGatewayId} (${State})`);
}

async function addresses({ ec2 }: AwsClients, filter: TagFilter): Promise<string[]> {
  const { Addresses = [] } = await ec2.send(new DescribeAddressesCommand({ Filters: [filter] }));
  return Addresses.map(({ AllocationId, PublicIp }) => `address ${AllocationId} (${PublicIp})`);
}

/** The gateway endpoint of S3 costs nothing, and goes with its network. */
async function endpoints({ ec2 }: AwsClients, filter: TagFilter): Promise<string[]> {
  const billed = { Name: "vpc-endpoint-type", Values: ["Interface"] };
  const all = await everyPage(async (NextToken) => {
    const page = await ec2.send(new DescribeVpcEndpointsCommand({ Filters: [filter, billed], NextToken }));
    return { items: page.VpcEndpoints, next: page.NextToken };
  });
  const left = all.filter(({ State }) => State?.toLowerCase() !== "deleted");
  return left.map(({ VpcEndpointId, ServiceName }) => `endpoint ${VpcEndpointId} (${ServiceName})`);
}

/** Load balancers cannot be asked for by tag: all are listed, and their tags read twenty at a time. */
async function loadBalancers({ balancers }: AwsClients, tags: readonly Tagged[]): Promise<string[]> {
  const all = await everyPage(async (Marker) => {
    const page = await balancers.send(new DescribeLoadBalancersCommand({ Marker }));
    return { items: page.LoadBalancers, next: page.NextMarker };
  });
  const arns = all.flatMap(({ LoadBalancerArn }) => LoadBalancerArn ?? []);
  const found: string[] = [];
  for (let from = 0; from < arns.length; from += 20) {
    const ResourceArns = arns.slice(from, from + 20);
    const { TagDescriptions = [] } = await balancers.send(new DescribeTagsCommand({ ResourceArns }));
    for (const { ResourceArn, Tags = [] } of TagDescriptions) {
      const isOurs = Tags.some(({ Key, Value }) => tags.some(({ key, value }) => key === Key && value === Value));
      if (isOurs) found.push(`load balancer ${ResourceArn?.slice(ResourceArn.indexOf("loadbalancer/") + 13)}`);
    }
  }
  return found;
}

async function cluster({ eks }: AwsClients, stack: string): Promise<string[]> {
  const name = clusterNameOf(stack);
  const found = await eks.send(new DescribeClusterCommand({ name })).catch((error: Error) => {
    if (error.name === "ResourceNotFoundException") return undefined;
    throw error;
  });
  return found ? [`EKS cluster ${name} (${found.cluster?.status?.toLowerCase()})`] : [];
}

async function everyPage<T>(
  ask: (token: string | undefined) => Promise<{ items: T[] | undefined; next: string | undefined }>,
): Promise<T[]> {
  const found: T[] = [];
  let token: string | undefined;
  do {
    const { items = [], next } = await ask(token);
    found.push(...items);
    token = next || undefined;
  } while (token);
  return found;
}
