/** A VPC over two or three zones: nodes in private subnets, one way out, and S3 reached without it. Or an existing VPC. */
import * as ec2 from "@pulumi/aws/ec2";
import * as pulumi from "@pulumi/pulumi";

export interface NetworkArgs {
  readonly region: string;
  /** Of the VPC that is made. */
  readonly zones: readonly string[];
  /** An existing VPC and its private subnets; nothing is made then but the endpoints asked for. */
  readonly vpcId?: string | undefined;
  readonly subnetIds?: readonly string[] | undefined;
  /** Private addresses for ECR's API in every zone: about 0.01 USD an hour and zone, for each of two endpoints. */
  readonly ecrEndpoints: boolean;
}

const CIDR = "10.64.0.0/16";

/** Addresses of the zone's subnets: 8,192 for nodes and pods, 256 for what faces the internet. Pure. */
export const subnetCidrs = (index: number) => ({
  private: `10.64.${index * 32}.0/19`,
  public: `10.64.${224 + index}.0/24`,
});

export class Network extends pulumi.ComponentResource {
  readonly vpcId: pulumi.Output<string>;
  readonly subnetIds: pulumi.Output<string[]>;
  /** What nodes need to reach the world. A cluster goes before it, so that none is cut off while it is being removed. */
  readonly routes: readonly pulumi.Resource[];

  constructor(name: string, args: NetworkArgs, opts?: pulumi.ComponentResourceOptions) {
    super("retort:infra:Network", name, {}, opts);
    const { region, zones, vpcId, subnetIds, ecrEndpoints } = args;
    if (vpcId !== undefined && subnetIds !== undefined) {
      this.vpcId = pulumi.output(vpcId);
      this.subnetIds = pulumi.output([...subnetIds]);
      this.routes = [];
    } else {
      const made = this.create(name, region, zones);
      this.vpcId = made.vpc.id;
      this.subnetIds = pulumi.all(made.subnets.map(({ id }) => id));
      this.routes = made.routes;
    }
    if (ecrEndpoints) this.ecrEndpoints(name, region);
    this.registerOutputs();
  }

  private create(name: string, region: string, zones: readonly string[]) {
    const opts = { parent: this };
    const Name = (part: string) => ({ tags: { Name: `${name}-${part}` } });
    const vpc = new ec2.Vpc(
      name,
      { cidrBlock: CIDR, enableDnsHostnames: true, enableDnsSupport: true, ...Name("vpc") },
      opts,
    );
    const gateway = new ec2.InternetGateway(name, { vpcId: vpc.id, ...Name("internet") }, opts);
    const open = new ec2.RouteTable(`${name}-public`, { vpcId: vpc.id, ...Name("public") }, opts);
    const closed = new ec2.RouteTable(`${name}-private`, { vpcId: vpc.id, ...Name("private") }, opts);

    const subnet = (zone: string, index: number, kind: "private" | "public") => {
      const part = `${kind}-${zone.at(-1)}`;
      // Where EKS puts load balancers, should somebody ask for one.
      const role = kind === "private" ? "kubernetes.io/role/internal-elb" : "kubernetes.io/role/elb";
      return new ec2.Subnet(
        `${name}-${part}`,
        {
          vpcId: vpc.id,
          availabilityZone: zone,
          cidrBlock: subnetCidrs(index)[kind],
          mapPublicIpOnLaunch: false,
          tags: { Name: `${name}-${part}`, [role]: "1" },
        },
        opts,
      );
    };
    const join = (part: string, subnetId: pulumi.Output<string>, table: ec2.RouteTable) =>
      new ec2.RouteTableAssociation(`${name}-${part}`, { subnetId, routeTableId: table.id }, opts);
    const facing = zones.map((zone, index) => subnet(zone, index, "public"));
    const subnets = zones.map((zone, index) => subnet(zone, index, "private"));

    const world = { destinationCidrBlock: "0.0.0.0/0" };
    const out = new ec2.Route(`${name}-public`, { routeTableId: open.id, gatewayId: gateway.id, ...world }, opts);
    const address = new ec2.Eip(name, { domain: "vpc", ...Name("nat") }, { ...opts, dependsOn: [gateway] });
    const [first] = facing;
    if (!first) throw new pulumi.InputPropertyError({ propertyPath: "zones", reason: "must not be empty" });
    // One for all zones: what is big (models, images' layers) goes by the S3 endpoint, which is free.
    const nat = new ec2.NatGateway(
      name,
      { allocationId: address.id, subnetId: first.id, ...Name("nat") },
      { ...opts, dependsOn: [out] },
    );
    const away = new ec2.Route(`${name}-private`, { routeTableId: closed.id, natGatewayId: nat.id, ...world }, opts);
    const store = new ec2.VpcEndpoint(
      `${name}-s3`,
      {
        vpcId: vpc.id,
        vpcEndpointType: "Gateway",
        serviceName: `com.amazonaws.${region}.s3`,
        routeTableIds: [closed.id],
        ...Name("s3"),
      },
      opts,
    );
    const joined = [
      ...facing.map(({ id }, index) => join(`public-${zones[index]?.at(-1)}`, id, open)),
      ...subnets.map(({ id }, index) => join(`private-${zones[index]?.at(-1)}`, id, closed)),
    ];
    return { vpc, subnets, routes: [out, away, store, ...joined] };
  }

  private ecrEndpoints(name: string, region: string): void {
    const opts = { parent: this };
    const vpc = ec2.getVpcOutput({ id: this.vpcId }, opts);
    const group = new ec2.SecurityGroup(
      `${name}-endpoints`,
      {
        vpcId: this.vpcId,
        description: "HTTPS from the VPC to the endpoints of ECR",
        ingress: [{ protocol: "tcp", fromPort: 443, toPort: 443, cidrBlocks: [vpc.cidrBlock] }],
        tags: { Name: `${name}-endpoints` },
      },
      opts,
    );
    for (const service of ["api", "dkr"]) {
      new ec2.VpcEndpoint(
        `${name}-ecr-${service}`,
        {
          vpcId: this.vpcId,
          vpcEndpointType: "Interface",
          serviceName: `com.amazonaws.${region}.ecr.${service}`,
          subnetIds: this.subnetIds,
          securityGroupIds: [group.id],
          privateDnsEnabled: true,
          tags: { Name: `${name}-ecr-${service}` },
        },
        opts,
      );
    }
  }
}
