/** The stages' images: built from this project's own sources into repositories of the account, and used by digest. */
import * as ecr from "@pulumi/aws/ecr";
import { Image } from "@pulumi/docker-build";
import * as pulumi from "@pulumi/pulumi";
import { type ByImage, type ImageName, repositoryName, TO_BE_BUILT } from "../../jobs/aws/images";
import type { Settings } from "../settings";
import type { AwsSettings } from "./settings";

export interface RegistryArgs {
  /** Images that the stack names by digest: nothing is built for them. */
  readonly given: AwsSettings["images"];
  /** Each image's tag, which its sources give it: unchanged sources build nothing. */
  readonly tags: ByImage<string>;
  /** Prefix of the repositories' names. */
  readonly prefix: string;
}

export class Registry extends pulumi.ComponentResource {
  private readonly references: ByImage<pulumi.Output<string>>;

  constructor(name: string, { given, tags, prefix }: RegistryArgs, opts?: pulumi.ComponentResourceOptions) {
    super("retort:infra:Registry", name, {}, opts);
    const reference = (image: ImageName): pulumi.Output<string> => {
      const digest = given[image];
      return digest === undefined ? this.build(name, image, prefix, tags[image]) : pulumi.output(digest);
    };
    this.references = {
      trainer: reference("trainer"),
      evaluator: reference("evaluator"),
      tensorboard: reference("tensorboard"),
    };
    this.registerOutputs();
  }

  /** The images by digest, once they are built. In a preview, one that is still to be built is TO_BE_BUILT. */
  async images(): Promise<Settings["images"]> {
    const { trainer, evaluator, tensorboard } = this.references;
    const [trained, evaluated, shown] = await Promise.all([trainer, evaluator, tensorboard].map(known));
    return {
      trainer: trained ?? TO_BE_BUILT,
      evaluator: evaluated ?? TO_BE_BUILT,
      tensorboard: shown ?? TO_BE_BUILT,
    };
  }

  private build(name: string, image: ImageName, prefix: string, tag: string): pulumi.Output<string> {
    const opts = { parent: this };
    const part = `${name}-${image}`;
    const repository = new ecr.Repository(
      part,
      {
        name: repositoryName(prefix, image),
        imageTagMutability: "IMMUTABLE",
        imageScanningConfiguration: { scanOnPush: true },
        // An image can be built again from its sources; what it made is in the buckets.
        forceDelete: true,
      },
      opts,
    );
    const login = ecr.getAuthorizationTokenOutput({ registryId: repository.registryId }, opts);
    const built = new Image(
      part,
      {
        // From the project's directory, so that no machine's paths are in the stack's state.
        context: { location: "images" },
        dockerfile: { location: `images/${image}/Dockerfile` },
        platforms: ["linux/amd64"],
        tags: [pulumi.interpolate`${repository.repositoryUrl}:${tag}`],
        push: true,
        buildOnPreview: false,
        registries: [
          { address: repository.repositoryUrl, username: login.userName, password: pulumi.secret(login.password) },
        ],
      },
      opts,
    );
    return built.ref;
  }
}

/** An output's value once it is there; undefined if a preview cannot know it. `apply` would never call back then. */
async function known<T>(output: pulumi.Output<T>): Promise<T | undefined> {
  const { isKnown } = output as unknown as { isKnown: Promise<boolean> };
  if (!(await isKnown)) return undefined;
  return new Promise((resolve) => {
    output.apply(resolve);
  });
}
