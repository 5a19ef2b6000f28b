/** The next even number of 1, 2 or 5 × 10ⁿ: the top of an axis whose half is whole, too. */
export function niceTop(max: number): number {
  if (max <= 2) return 2;
  const power = 10 ** Math.floor(Math.log10(max));
  for (const factor of [1, 2, 4, 6, 8, 10]) {
    const top = factor * power;
    if (top >= max && top % 2 === 0) return top;
  }
  return 10 * power;
}

const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

/** `8K`, `1.5M`: the labels of an axis must fit a phone. */
export function compact(n: number): string {
  return COMPACT.format(n);
}
