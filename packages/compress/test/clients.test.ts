import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import balancer from '@headgate/balancer'
import { type Browser, chromium } from 'playwright-core'
import t from 'tap'
import { fetch as undiciFetch } from 'undici'
import { find, skipWithout } from '../../../tools/system.mjs'
import { builtIn } from '../src/encodings/index.ts'
import { listen, text, upstream } from './helpers.ts'

type Test = Parameters<typeof upstream>[0]

const page = `<!doctype html><title>made</title><link rel=stylesheet href=/style.css><script src=/app.js></script><p>${text(20_000)}</p>`
const run = promisify(execFile)

/** Headgate in front of an upstream with a page, its script, its style and events. */
async function site (t: Test): Promise<string> {
  const to = await upstream(t, (request, response) => {
    switch (request.url) {
      case '/': return response.setHeader('content-type', 'text/html').end(page)
      case '/app.js': return response.setHeader('content-type', 'text/javascript').end(`window.app = ${JSON.stringify(text(200_000))}`)
      case '/style.css': return response.setHeader('content-type', 'text/css').end(`p { width: 321px } ${'.a { color: red }\n'.repeat(2000)}`)
      case '/events': {
        response.setHeader('content-type', 'text/event-stream')
        // The next event is made when the page has told of the one before.
        response.write('data: 0\n\n')
        told = (id) => { response.write(`data: ${id}\n\n`) }
        return
      }
      case undefined: return
      default:
        if (request.url.startsWith('/heard/')) told(Number(request.url.slice(7)) + 1)
        response.end()
    }
  })
  let told: (id: number) => void = () => {}
  return (await listen(t, {}, (app) => app.register(balancer, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] }))).url
}

t.test('undici decodes what it asks for', async (t) => {
  const url = await site(t)
  const response = await undiciFetch(url, { headers: { 'accept-encoding': 'gzip, deflate, br' } })
  t.equal(response.headers.get('content-encoding'), 'br')
  t.equal(await response.text(), page)
})

t.test('curl decodes each coding', { skip: skipWithout('curl') }, async (t) => {
  const url = await site(t)
  const features = (await run(find('curl')!, ['--version'])).stdout
  for (const encoding of builtIn.keys()) {
    const asked = { gzip: 'libz', deflate: 'libz', br: 'brotli', zstd: 'zstd' }[encoding]!
    if (!features.includes(asked)) continue
    const { stdout } = await run(find('curl')!, ['-s', '--compressed', '-H', `accept-encoding: ${encoding}`, '-w', '\n%header{content-encoding}', url])
    t.equal(stdout, `${page}\n${encoding}`)
  }
  t.equal((await run(find('curl')!, ['-s', url])).stdout, page, 'without --compressed')
  const head = (await run(find('curl')!, ['-s', '-I', '-H', 'accept-encoding: gzip', url])).stdout
  t.match(head, /content-encoding: gzip/i)
})

t.test('Chromium shows a page, its script and its style, and hears events one by one', { skip: skipWithout('chromium') }, async (t) => {
  const url = await site(t)
  const browser: Browser = await chromium.launch({
    executablePath: find('chromium')!,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']
  })
  t.teardown(() => browser.close())
  const tab = await browser.newPage()
  const codings: Record<string, string | undefined> = {}
  tab.on('response', (response) => { codings[new URL(response.url()).pathname] = response.headers()['content-encoding'] })
  await tab.goto(url)
  const best = builtIn.has('zstd') ? 'zstd' : 'br'
  // Over plain HTTP browsers ask for gzip and deflate only, but loopback counts as secure.
  t.ok([best, 'gzip'].includes(codings['/']!), String(codings['/']))
  t.equal(codings['/app.js'], codings['/'])
  t.equal(codings['/style.css'], codings['/'])
  t.equal(await tab.title(), 'made')
  t.equal(await tab.evaluate('window.app'), text(200_000))
  t.equal(await tab.evaluate('getComputedStyle(document.querySelector("p")).width'), '321px')
  t.same(await tab.evaluate(`new Promise((resolve) => {
    const heard = []
    const events = new EventSource('/events')
    events.onmessage = ({ data }) => {
      heard.push(data)
      if (heard.length === 4) { events.close(); resolve(heard) } else fetch('/heard/' + data)
    }
  })`), ['0', '1', '2', '3'])
  t.ok(codings['/events'], 'the events were encoded')
})
