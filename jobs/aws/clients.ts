/** The clients of AWS's APIs, and one name for what can be wrong with the credentials that they find. */
import { EC2Client } from "@aws-sdk/client-ec2";
import { ECRClient } from "@aws-sdk/client-ecr";
import { EKSClient } from "@aws-sdk/client-eks";
import { ElasticLoadBalancingV2Client } from "@aws-sdk/client-elastic-load-balancing-v2";
import { S3Client } from "@aws-sdk/client-s3";
import { ServiceQuotasClient } from "@aws-sdk/client-service-quotas";
import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";
import { VisibleError } from "../visibleError";
import "../quietSdk";

export interface AwsClients {
  readonly region: string;
  readonly ec2: EC2Client;
  readonly ecr: ECRClient;
  readonly eks: EKSClient;
  readonly balancers: ElasticLoadBalancingV2Client;
  readonly quotas: ServiceQuotasClient;
  readonly s3: S3Client;
  readonly sts: STSClient;
}

/** The SDK's own back-off outlives throttling; what it asks is small. */
const ATTEMPTS = 6;

/** Credentials are this machine's own: environment, profile, SSO. AWS_ENDPOINT_URL is honoured by the SDK itself. */
export function awsClients(region: string): AwsClients {
  const options = { region, maxAttempts: ATTEMPTS };
  return {
    region,
    ec2: new EC2Client(options),
    ecr: new ECRClient(options),
    eks: new EKSClient(options),
    balancers: new ElasticLoadBalancingV2Client(options),
    quotas: new ServiceQuotasClient(options),
    s3: new S3Client(options),
    sts: new STSClient(options),
  };
}

/** The account that the credentials belong to, 12 digits. Throws VisibleError if there are none, or they are refused. */
export async function accountOf({ sts, region }: AwsClients): Promise<string> {
  const { Account } = await sts.send(new GetCallerIdentityCommand({})).catch((error: Error & { code?: string }) => {
    if (error.code === "ENOTFOUND" || error.code === "EAI_AGAIN") {
      throw new VisibleError(
        `AWS has no address for ${region} (${error.message}): mend retort:region, or the network`,
        2,
      );
    }
    throw new VisibleError(credentialProblem(error) ?? `AWS: ${error.name}: ${error.message}`, 2);
  });
  if (Account === undefined) throw new VisibleError("AWS does not say which account the credentials belong to");
  return Account;
}

const PROBLEMS: Readonly<Record<string, string>> = {
  CredentialsProviderError: "no AWS credentials on this machine: aws configure sso, or set AWS_PROFILE",
  TokenProviderError: "the AWS session has ended: aws sso login",
  ExpiredToken: "the AWS credentials have expired: aws sso login, or renew them",
  ExpiredTokenException: "the AWS credentials have expired: aws sso login, or renew them",
  RequestExpired: "the AWS credentials have expired, or this machine's clock is wrong",
  InvalidClientTokenId: "AWS does not know the access key: check AWS_PROFILE and AWS_ACCESS_KEY_ID",
  UnrecognizedClientException: "AWS does not know the access key: check AWS_PROFILE and AWS_ACCESS_KEY_ID",
  AuthFailure: "AWS does not accept the access key: check AWS_PROFILE and AWS_ACCESS_KEY_ID",
  SignatureDoesNotMatch: "the AWS secret does not fit the access key",
};

/** What is wrong with the credentials, in words, if that is what an error says. */
export const credentialProblem = ({ name }: Error): string | undefined => PROBLEMS[name];
