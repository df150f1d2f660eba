// Text that wants to be more than text, in the place of every text of an answer.

const MARKUP = '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>'
const PIECES = [
  MARKUP, '\u202e{{1}}\u2066', '${7*7}', '{@' + 'html 1}', '"><svg onload=alert(1)>', '\'"`', '=HYPERLINK("http://x","y")', '@SUM(1+1)', '+1', '</title></textarea><b>', 'javascript:alert(1)',
  'مرحبا', 'שלום', '🌊', '👩‍👩‍👧‍👦', '\u200b\u200d\ufeff', 'e\u0301\u0323', 'W'.repeat(80), '名前', '&lt;i&gt;', 'a\tb', '%00../..', '--', 'constructor', '__proto__',
]
const TEXT_LEN = 200
const COUNT = 200

/** The same each time: pieces side by side, a step further with each text, as long as a name can be. */
export const texts = Array.from({ length: COUNT }, (_, n) => {
  const pieces = Array.from({ length: 6 }, (_, at) => PIECES[(n + at * (1 + (n % 23))) % PIECES.length])
  return pieces.join(n % 3 ? ' ' : '').slice(0, TEXT_LEN)
})

/** What a view decides by; of any other kind it would draw nothing. */
const ENUMS = ['class', 'priority', 'state', 'severity', 'outcome', 'unit', 'form', 'resource', 'source', 'cache', 'kind', 'verdict', 'sign', 'path', 'key', 'timezone']
const isPlain = (text: string) => text === '' || /^-?\d+(\.\d+)?$/.test(text) || /^\d{4}-\d\d-\d\d(T|$)/.test(text)

/** Numbers, moments, days and what is one of a few stay; each other text is the next one, and another one, since names and ids are unique. */
export function hostile<T>(view: T): T {
  let next = 0
  const changed = (value: unknown, at: string): unknown => {
    if (typeof value === 'string') return isPlain(value) || ENUMS.includes(at.split('.').at(-1) ?? '') ? value : `${MARKUP}${texts[next++ % COUNT]}${at}`
    if (Array.isArray(value)) return value.map((one, place) => changed(one, `${at}.${place}`))
    if (value !== null && typeof value === 'object') return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, changed(one, `${at}.${name}`)]))
    return value
  }
  return changed(view, 'x') as T
}
