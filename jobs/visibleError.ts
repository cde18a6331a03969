/** Errors whose message is all that a person needs: what is wrong and what to do, without a stack trace. */
import { ConfigError } from "../configs/load";

export class VisibleError extends Error {
  override readonly name: string = "VisibleError";
  /** 2: the user's mistake; 1: worth another attempt once the cause is gone. */
  constructor(
    message: string,
    readonly exitCode: 1 | 2 = 1,
  ) {
    super(message);
  }
}

/** Prints why a program ends, and returns the exit code for it. Only a defect of the program has a stack trace. */
export function reported(error: unknown, print: (text: string) => void = console.error): number {
  if (error instanceof ConfigError) {
    print(error.message);
    return 2;
  }
  if (error instanceof VisibleError) {
    print(`error: ${error.message}`);
    return error.exitCode;
  }
  print(error instanceof Error ? (error.stack ?? error.message) : String(error));
  return 1;
}
