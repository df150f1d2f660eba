import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig, type ProxyOptions } from 'vite'

const POLICY = { 'content-security-policy': "default-src 'self'" }

// `TIDEGATE_URL=http://127.0.0.1:8432 npm run dev`, then /#token=…, shows a running `tidegate serve --api` in a browser.
function proxy(target: string | undefined): Record<string, ProxyOptions> {
  return target ? { '/tidegate': { target, changeOrigin: true, configure: dropBrowserHeaders } } : {}
}

// The gateway answers no web page.
const dropBrowserHeaders: ProxyOptions['configure'] = (server) => {
  server.on('proxyReq', (request) => {
    for (const name of ['origin', 'referer', 'sec-fetch-site']) request.removeHeader(name)
  })
}

export default defineConfig(({ mode }) => ({
  plugins: [svelte()],
  base: './',
  build: {
    target: 'es2022',
    outDir: mode === 'browser' ? '../target/ui' : 'dist',
    emptyOutDir: true,
    // Inlined assets would be data: URLs, which the policy forbids.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: { proxy: proxy(process.env.TIDEGATE_URL) },
  preview: { headers: POLICY, proxy: proxy(process.env.TIDEGATE_URL) },
}))
