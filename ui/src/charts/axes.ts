// How much room the marks of an axis take.

const LEAST_PX = 48
const GAP_PX = 8
/** A digit of the 11 px of all charts, in the widest of the system's fonts. */
const DIGIT_PX = 7

export function room(marks: string[]): number {
  return Math.max(LEAST_PX, GAP_PX + DIGIT_PX * Math.max(0, ...marks.map((mark) => mark.length)))
}
