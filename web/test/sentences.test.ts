import { expect, test } from "vitest";
import { numberOf } from "../src/graph/numbers";
import { faultOf, fieldsOf } from "../src/graph/palette";
import { said, saidThere } from "../src/graph/sentences";
import { palette } from "./graphs";

const problem = { node: "train", field: "learning_rate", message: "the gradients became nan at step 3.", remedy: "Lower it." };

test("a problem is a whole sentence, with its field where that is not beside it", () => {
  expect(said(problem)).toBe("Learning rate: the gradients became nan at step 3. Lower it.");
  expect(saidThere(problem)).toBe("The gradients became nan at step 3. Lower it.");
  expect(said({ field: "", message: "it was stopped.", remedy: "" })).toBe("It was stopped.");
});

test("decimals where a whole number is needed are told from what is no number", () => {
  const steps = fieldsOf(palette.get("TrainLoRA") ?? never()).find(({ name }) => name === "max_steps") ?? never();
  const typed = (text: string) => numberOf(text, true) ?? numberOf(text, false) ?? text;
  expect(faultOf(steps, typed("12.5"))).toEqual({ code: "notInteger" });
  expect(faultOf(steps, typed("twelve"))).toEqual({ code: "notNumber" });
  expect(typed("1,000")).toBe(1000);
});

function never(): never {
  throw new Error("it is not in the palette");
}
