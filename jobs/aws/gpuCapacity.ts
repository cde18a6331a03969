/** Whether a stack still holds GPU capacity, by looking in both places: the cluster's nodes, then EC2's machines. */
import { clusterNameOf } from "../../infra/aws/names";
import type { AwsClients } from "./clients";
import { poolNodes } from "./eksCluster";
import { hasGpu, isThere, type Machine, machinesOf } from "./gpuNodes";

/** Such as "instance i-0abc (p5.4xlarge, running)". */
export const described = ({ id, type, state }: Machine): string => `instance ${id} (${type}, ${state})`;

/** GPU machines that EC2 has of a stack, and that are not gone. It is they that cost money. */
export async function gpuMachines({ ec2 }: AwsClients, stack: string): Promise<string[]> {
  const machines = await machinesOf(ec2, clusterNameOf(stack));
  return machines.filter((machine) => isThere(machine) && hasGpu(machine)).map(described);
}

/** All GPU capacity of a stack: nothing, if all is well. Throws if either place cannot be looked at. */
export async function gpuCapacity(clients: AwsClients, stack: string): Promise<string[]> {
  const nodes = await poolNodes(clients.eks, clusterNameOf(stack), clients.region);
  return [...nodes, ...(await gpuMachines(clients, stack))];
}
