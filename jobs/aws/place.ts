/** Where the run of a stack on AWS is: the cluster and the buckets that its program has made, found by their names. */
import { join } from "node:path";
import { bucketsOf, clusterNameOf } from "../../infra/aws/names";
import type { AwsSettings } from "../../infra/aws/settings";
import type { Place } from "../kubernetes/place";
import { s3Store } from "../s3";
import { accountOf, awsClients } from "./clients";
import { eksCluster, findCluster } from "./eksCluster";
import { gpuCapacity } from "./gpuCapacity";
import { IMAGE_NAMES, type ImageName, imageTags, repositoryName, TO_BE_BUILT, taggedImage } from "./images";
import { livePrices } from "./livePrices";
import { loadPrices, nodePrice } from "./prices";

/** Throws VisibleError without credentials. */
export async function awsPlace(settings: AwsSettings, stack: string, root: string): Promise<Place> {
  const { region, namespace, gpu, budget } = settings;
  const clients = awsClients(region);
  const names = bucketsOf(stack, await accountOf(clients), settings.storage);
  const clusterName = clusterNameOf(stack);
  return {
    base: `s3://${names.data}`,
    runs: `s3://${names.results}/runs`,
    store: s3Store({ region, toBeMade: true }),
    run: settings.run,
    cluster: eksCluster(() => findCluster(clients.eks, clusterName, region), namespace),
    async images() {
      const tags = await imageTags(root);
      const imageOf = async (image: ImageName): Promise<string> =>
        settings.images[image] ??
        (await taggedImage(clients.ecr, repositoryName(clusterName, image), tags[image]))?.reference ??
        TO_BE_BUILT;
      const [trainer, evaluator, tensorboard] = await Promise.all(IMAGE_NAMES.map(imageOf));
      return {
        trainer: trainer ?? TO_BE_BUILT,
        evaluator: evaluator ?? TO_BE_BUILT,
        tensorboard: tensorboard ?? TO_BE_BUILT,
      };
    },
    async budget() {
      const table = loadPrices(join(root, "configs/prices.yaml"));
      const { high } = nodePrice(settings, table, await livePrices(settings, clients));
      return { ...budget, usdPerHour: high * gpu.nodes };
    },
    gpuCapacity: () => gpuCapacity(clients, stack),
  };
}
