// The spans of days that a person asks about.

import type { Span } from './questions'
import { dayAfter } from './zone'

export interface Choice {
  name: string
  label: string
  /** From and to, both included, of the day that it is. */
  span: (today: string) => { from: string; to: string }
}

const lastDays = (days: number) => (today: string) => ({ from: dayAfter(today, 1 - days), to: today })

export const CHOICES: Choice[] = [
  { name: '7', label: '7 days', span: lastDays(7) },
  { name: '30', label: '30 days', span: lastDays(30) },
  { name: 'month', label: 'This month', span: (today) => ({ from: `${today.slice(0, 7)}-01`, to: today }) },
  {
    name: 'last',
    label: 'Last month',
    span: (today) => {
      const to = dayAfter(`${today.slice(0, 7)}-01`, -1)
      return { from: `${to.slice(0, 7)}-01`, to }
    },
  },
  { name: '90', label: '90 days', span: lastDays(90) },
  { name: 'year', label: 'A year', span: lastDays(365) },
]

/** The one that a span is on that day. */
export function choiceOf(span: Span, today: string): Choice | undefined {
  return CHOICES.find((one) => {
    const { from, to } = one.span(today)
    return from === span.from && to === span.to
  })
}

/** Both are days, in their order. */
export function isSpan({ from, to }: Span): boolean {
  const isDay = (text: string | null) => text !== null && /^\d{4}-\d\d-\d\d$/.test(text)
  return isDay(from) && isDay(to) && (from ?? '') <= (to ?? '')
}
