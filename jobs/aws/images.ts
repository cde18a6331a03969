/** The stages' images in ECR: the tag that an image's sources give it, and what lies in the registry under that tag. */
import { join } from "node:path";
import { DescribeImagesCommand, DescribeRepositoriesCommand, type ECRClient } from "@aws-sdk/client-ecr";
import { Hashes } from "../hashing";
import { isNoSource } from "../sources";

export type ImageName = "trainer" | "evaluator" | "tensorboard";
export const IMAGE_NAMES: readonly ImageName[] = ["trainer", "evaluator", "tensorboard"];

export type ByImage<T> = Readonly<Record<ImageName, T>>;

/** Placeholder of an image that nobody can know yet, because it is still to be built. */
export const TO_BE_BUILT = `to-be-built@sha256:${"0".repeat(64)}`;

/** The directories below images/ that an image is built from. */
const TREES: ByImage<readonly string[]> = {
  trainer: ["trainer"],
  evaluator: ["trainer", "evaluator"],
  tensorboard: ["tensorboard"],
};

/** A hash of each image's sources: a repository never takes a second image under one tag. */
export async function imageTags(root: string): Promise<ByImage<string>> {
  const hashes = await Hashes.load(join(root, ".cache/hashes.json"));
  const tagOf = async (image: ImageName): Promise<string> => {
    const trees = TREES[image].map((tree) => join(root, "images", tree));
    const hash = await hashes.ofTrees(trees, (name) => name !== "Dockerfile" && isNoSource(name));
    return hash.slice(0, 16);
  };
  const [trainer, evaluator, tensorboard] = await Promise.all([
    tagOf("trainer"),
    tagOf("evaluator"),
    tagOf("tensorboard"),
  ]);
  await hashes.save();
  return { trainer, evaluator, tensorboard };
}

export const repositoryName = (prefix: string, image: ImageName): string => `${prefix}/${image}`;

export interface PushedImage {
  /** As a build names it: repository, tag and digest. */
  readonly reference: string;
  /** Of its layers as they lie in the registry, compressed. */
  readonly bytes: number;
}

/** The image that a repository has under a tag; undefined if there is none. */
export async function taggedImage(ecr: ECRClient, repository: string, tag: string): Promise<PushedImage | undefined> {
  const found = await lookUp(ecr, repository, { imageTag: tag });
  if (!found) return undefined;
  const { repositories = [] } = await ecr.send(new DescribeRepositoriesCommand({ repositoryNames: [repository] }));
  return { reference: `${repositories[0]?.repositoryUri}:${tag}@${found.digest}`, bytes: found.bytes };
}

const IN_ECR = /^(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?\/([^:@]+)(?::[^@]+)?@(sha256:[0-9a-f]{64})$/;

/** Whether an image named by its digest lies in an ECR, and in which account, region and repository. Pure. */
export function placeInEcr(reference: string) {
  const [, account, region, repository, digest] = IN_ECR.exec(reference) ?? [];
  return account && region && repository && digest ? { account, region, repository, digest } : undefined;
}

/** Bytes of an image by its digest; undefined if the repository has it not. */
export async function imageBytes(
  ecr: ECRClient,
  { account, repository, digest }: { account: string; repository: string; digest: string },
): Promise<number | undefined> {
  return (await lookUp(ecr, repository, { imageDigest: digest }, account))?.bytes;
}

const ABSENT = ["ImageNotFoundException", "RepositoryNotFoundException"];

async function lookUp(
  ecr: ECRClient,
  repositoryName: string,
  imageId: { imageTag: string } | { imageDigest: string },
  registryId?: string,
): Promise<{ digest: string; bytes: number } | undefined> {
  const asked = new DescribeImagesCommand({ repositoryName, imageIds: [imageId], ...(registryId && { registryId }) });
  const { imageDetails = [] } = await ecr.send(asked).catch((error: Error) => {
    if (ABSENT.includes(error.name)) return { imageDetails: [] };
    throw error;
  });
  const [image] = imageDetails;
  return image?.imageDigest ? { digest: image.imageDigest, bytes: image.imageSizeInBytes ?? 0 } : undefined;
}
