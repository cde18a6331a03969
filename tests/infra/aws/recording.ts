/** Runs the program of a stack on AWS under mocks, with moto for what it asks AWS itself. */
import { recordingOf, type Said, smallRun } from "../recording";
import { type Gate, json, type Moto } from "./moto";

export { only } from "../recording";

export const ACCOUNT = "123456789012";
export const CIDRS = { accessCidrs: ["203.0.113.7/32"] };

/** Answers of an account that may start P5 instances, which moto does not have. */
export const willingAccount: Gate = ({ service, action }) => {
  if (service === "servicequotas" && action === "GetServiceQuota") return json({ Quota: { Value: 192 } });
  if (action === "DescribeInstanceTypeOfferings") return offerings("us-east-1a", "us-east-1b", "us-gov-east-1a");
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

export const record = (
  moto: Moto,
  given: Readonly<Record<string, unknown>>,
  more: { withoutImages?: boolean } = {},
): Promise<Said> => {
  const settings = { target: "aws", run: smallRun(), cluster: CIDRS, ...given };
  return recordingOf({ settings, ...more }, moto.variables());
};
