// What an hour of the week costs on the mean: hours before the first call are unknown and not nothing.

import type { UsageRowView } from './bindings/UsageRowView'
import { hourName, weekdayAndHour } from './zone'

export const WEEKDAYS = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun']

/** `null` where no such hour is known. */
export type Week = (number | null)[][]

const HOUR_MS = 3_600_000

export function week(rows: UsageRowView[], now: number, zone: string): Week {
  const sums = WEEKDAYS.map(() => Array.from({ length: 24 }, () => ({ cost: 0, hours: 0 })))
  const costs = new Map(rows.map((row) => [Date.parse(row.key), Number(row.cost_usd ?? 0)]))
  for (let hour = Date.parse(rows[0]?.key ?? ''); hour <= now; hour += HOUR_MS) {
    const [day, of] = weekdayAndHour(hourName(hour, zone))
    const sum = sums[day]?.[of]
    if (!sum) continue
    sum.hours++
    sum.cost += costs.get(hour) ?? 0
  }
  return sums.map((day) => day.map(({ cost, hours }) => (hours > 0 ? cost / hours : null)))
}
