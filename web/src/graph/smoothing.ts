/** Exponential moving average without the bias of its start (Kingma and Ba 2015, section 3). */
export function smoothed(values: number[], weight: number): number[] {
  let [sum, share] = [0, 0];
  return values.map((value) => {
    sum = weight * sum + (1 - weight) * value;
    share = weight * share + (1 - weight);
    return sum / share;
  });
}
