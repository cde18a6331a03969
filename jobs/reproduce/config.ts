/** The config of a finished run, from its manifests alone. Pure. */
import { problemsOf } from "../../configs/problems";
import { type DataName, RunConfig } from "../../configs/schema";
import type { FinishedRun } from "./finishedRun";

type Fields = Readonly<Record<string, unknown>>;

/** The config that leads to the same stages again, or why this version of the project knows no such config. */
export interface ConfigAgain {
  readonly config: RunConfig | undefined;
  readonly problems: readonly string[];
}

/** The config of a finished run under another name, with its data at these places. */
export function configAgain(
  { train, evaluate }: FinishedRun,
  name: string,
  places: Readonly<Partial<Record<DataName, string>>>,
): ConfigAgain {
  const { rowLimit, ...data } = train.config["data"] as Fields;
  const { server, ...asked } = evaluate.config["evaluate"] as Fields;
  const { startTimeoutMinutes, ...settings } = evaluate.settings;
  const given = {
    name,
    model: { base: train.inputs.model.uri },
    data: { ...places, ...data, ...(rowLimit !== null && { rowLimit }) },
    train: { ...(train.config["train"] as Fields), ...train.settings },
    evaluate: {
      ...asked,
      ...settings,
      server: { ...(server as Fields), ...(startTimeoutMinutes !== undefined && { startTimeoutMinutes }) },
    },
  };
  const parsed = RunConfig.safeParse(given);
  if (parsed.success) return { config: parsed.data, problems: [] };
  const problems = problemsOf(parsed.error.issues, given);
  return { config: undefined, problems: problems.map(({ path, message }) => `${path.join(".")}: ${message}`) };
}

/** At most 32 characters, as every run's name. */
export const nameAgain = (name: string): string => `${name.slice(0, 26).replace(/-+$/, "")}-again`;
