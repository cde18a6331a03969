/** Why EC2 started no machine, in words: from the code in Karpenter's message. Pure. */

const CODES: Readonly<Record<string, string>> = {
  InsufficientInstanceCapacity: "EC2 has no such machine free in these zones now",
  UnfulfillableCapacity: "EC2 has no such machine free in these zones now",
  ReservationCapacityExceeded: "every machine of the reservation is in use",
  VcpuLimitExceeded: "the account's vCPU quota for P instances is used up (another stack, or too small a quota)",
  MaxSpotInstanceCountExceeded: "the account's quota for spot P instances is used up",
  InsufficientFreeAddressesInSubnet: "the subnets have no free addresses",
  Unsupported: "the instance type is not offered in these zones",
  UnauthorizedOperation: "the cluster's role may not start it: a policy of the organisation forbids it",
};

/** The message with its meaning in front, where one is known. */
export function explainedLaunch(message: string): string {
  const code = Object.keys(CODES).find((known) => message.includes(known));
  return code === undefined ? message : `${CODES[code]} (${message})`;
}
