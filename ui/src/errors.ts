// What ended a call, in words. The codes are those of a refusal's `error_code`.

const WORDS: Record<string, string> = {
  tidegate_bad_request: 'its request could not be read',
  tidegate_body_stopped: 'its body stopped coming',
  tidegate_body_too_large: 'its body was larger than its path takes',
  tidegate_breaker_open: 'the breaker of its upstream was open',
  tidegate_budget_reached: 'a budget that it counts in was spent',
  tidegate_connections: 'too many connections were open',
  tidegate_deadline: 'its turn would have come later than it could wait for it',
  tidegate_draining: 'Tidegate was shutting down',
  tidegate_dropped: 'somebody took it out of the queue',
  tidegate_emergency: 'an emergency held it back',
  tidegate_held: 'it was held back: it was paused, or outside the hours of background calls',
  tidegate_host: 'it named another host than this gateway',
  tidegate_keychain: 'the key of its upstream could not be had',
  tidegate_ledger: 'the ledger could not be written',
  tidegate_no_json_object: 'its body was no JSON object',
  tidegate_no_model: 'its body named no model',
  tidegate_no_reservation: 'its client held no such reservation',
  tidegate_no_upstream: 'no upstream could take it',
  tidegate_not_found: 'nothing is at its path',
  tidegate_origin: 'a web page made it whose origin is not allowed',
  tidegate_queue_full: 'the queue was full',
  tidegate_reservation_too_large: 'it was to reserve more than is free',
  tidegate_reservations_full: 'as many reservations as there may be were open',
  tidegate_sent_again: 'it was sent again, and the later one took its place',
  tidegate_token: 'its token is not known',
  tidegate_upstream_lost: 'its upstream closed the connection before it answered',
  tidegate_upstream_silent: 'its upstream sent nothing for too long',
  tidegate_window_exhausted: 'a window of its upstream was used up',
}

/** `the queue was full (tidegate_queue_full)`; `overloaded error` of an upstream's own code; what is words stays. */
export function errorWords(error: string): string {
  const words = WORDS[error]
  if (words) return `${words} (${error})`
  return /^[a-z]+(_[a-z]+)+$/.test(error) ? error.replaceAll('_', ' ') : error
}

const ENDS: Record<string, string> = { refused: 'Refused', cut: 'Cut', cancelled: 'Cancelled', interrupted: 'Interrupted' }

/** How a call ended that says more than its outcome: a name, and the words. */
export function ending({ outcome, error }: { outcome: string; error: string | null }): [string, string] | null {
  if (error === null) return null
  if (outcome === 'completed' && error === 'max_tokens') return ['Answer', 'ended at max_tokens: it is as long as its request allowed']
  return [ENDS[outcome] ?? 'Error', errorWords(error)]
}
