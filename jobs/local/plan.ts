/** Decides which stages of a run have to run now. */
import type { Manifest, StageState } from "../artifacts";
import type { StageName, StageSpec } from "../stages";
import { VisibleError } from "../visibleError";

/** What the user asked for. */
export interface Selection {
  /** Only these stages; none named means all. */
  readonly only: readonly StageName[];
  /** Run this stage again, and those after it, though they are done. */
  readonly force: StageName | undefined;
}

export type Step =
  | { readonly spec: StageSpec; readonly action: "keep"; readonly manifest: Manifest }
  | { readonly spec: StageSpec; readonly action: "run"; readonly why: string; readonly startOver: boolean }
  | { readonly spec: StageSpec; readonly action: "leave"; readonly startOver: boolean };

/**
 * A step for each stage, in order. `startOver`: the artifacts of an earlier attempt are removed first, for the forced
 * stage and for all after it, whose inputs are no longer the ones they were made from.
 * Throws VisibleError if a stage would lack what it reads.
 */
export function planRun(stages: readonly { spec: StageSpec; state: StageState }[], { only, force }: Selection): Step[] {
  const selected = (name: StageName) => only.length === 0 || only.includes(name);
  if (force !== undefined && !selected(force)) {
    throw new VisibleError(`--force-stage ${force}: --stage leaves it out`, 2);
  }
  const forcedFrom = force === undefined ? stages.length : stages.findIndex(({ spec }) => spec.name === force);
  const steps = stages.map(({ spec, state }, index): Step => {
    const startOver = index >= forcedFrom;
    if (!selected(spec.name)) return { spec, action: "leave", startOver };
    if (startOver)
      return { spec, action: "run", why: index === forcedFrom ? "forced" : `${force} runs again`, startOver };
    return state.done
      ? { spec, action: "keep", manifest: state.manifest }
      : { spec, action: "run", why: state.why, startOver };
  });
  for (const [index, step] of steps.entries()) {
    if (step.action !== "run") continue;
    const lacking = stages.slice(0, index).find(({ state, spec }) => !state.done && !selected(spec.name));
    if (lacking) {
      const why = lacking.state.done ? "" : lacking.state.why;
      throw new VisibleError(
        `--stage ${step.spec.name}: it reads what ${lacking.spec.name} leaves, and that ${why}; ` +
          `run --stage ${lacking.spec.name} first, or leave --stage out`,
        2,
      );
    }
  }
  return steps;
}
