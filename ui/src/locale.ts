// WebKitGTK reports `navigator.language == "C"` under LANG=C, which Intl refuses. First import of main.ts.
try {
  new Intl.NumberFormat(navigator.language)
} catch {
  Object.defineProperty(navigator, 'language', { value: 'en-US', configurable: true })
}
