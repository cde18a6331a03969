/** The KMS keys that existing buckets are encrypted with: without rights to them, stages can read nothing there. */
import { GetBucketEncryptionCommand, type S3Client } from "@aws-sdk/client-s3";
import { VisibleError } from "../visibleError";

/** As ARNs, which `arnOf` makes of a bare key id. AWS's own keys, named by an alias, need no rights. Throws VisibleError. */
export async function bucketKeys(
  s3: S3Client,
  buckets: readonly string[],
  arnOf: (keyId: string) => string,
): Promise<string[]> {
  const found = await Promise.all(buckets.map((bucket) => keysOf(s3, bucket)));
  const keys = found.flat().filter((id) => !id.includes("alias/"));
  return [...new Set(keys.map((id) => (id.startsWith("arn:") ? id : arnOf(id))))];
}

async function keysOf(s3: S3Client, Bucket: string): Promise<string[]> {
  const answer = await s3.send(new GetBucketEncryptionCommand({ Bucket })).catch((error: Error) => {
    if (error.name === "ServerSideEncryptionConfigurationNotFoundError") return undefined;
    throw new VisibleError(
      `the encryption of the bucket ${Bucket} cannot be read (${error.name}): it takes s3:GetEncryptionConfiguration`,
      2,
    );
  });
  const rules = answer?.ServerSideEncryptionConfiguration?.Rules ?? [];
  return rules.flatMap(({ ApplyServerSideEncryptionByDefault: applied }) => applied?.KMSMasterKeyID ?? []);
}
