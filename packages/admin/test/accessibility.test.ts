import { join } from 'node:path'
import t from 'tap'
import { skipWithout } from '../../../tools/system.mjs'
import { upstream } from '../../balancer/test/helpers.ts'
import { launch, open, serve, violations } from './browser.ts'

/** Where the screenshots go, for whoever wants to look at them. */
const FOLDER = process.env['HEADGATE_SCREENSHOTS']

// A browser on a busy machine takes its time.
t.setTimeout(300_000)

t.test('accessible in light and dark, at 360 pixels and at 4K, without a horizontal scroll bar', { skip: skipWithout('chromium') }, async (t) => {
  const browser = await launch(t)
  const a = await upstream(t, (_, response) => response.end('a'))
  const { app, url } = await serve(t, { pools: { web: [a.url, 'http://127.0.0.1:1'], api: { upstreams: ['http://127.0.0.1:2'] } }, routes: [{ prefix: '/', pool: 'web' }] })
  for (let i = 0; i < 8; i++) await fetch(`${url}/`)
  app.balancer.pool('web').upstreams[1]!.health.eject('it failed')
  for (const [width, scheme] of [[360, 'dark'], [1280, 'light'], [3840, 'dark']] as const) {
    const { page, complaints } = await open(t, browser, url, width, scheme)
    await page.locator('.event').first().waitFor()
    t.same(await violations(page), [], `axe at ${width}, ${scheme}`)
    t.ok(await page.evaluate('document.documentElement.scrollWidth <= innerWidth'), `no sideways scrolling at ${width}`)
    t.same(complaints, [])
    const picture = await page.screenshot({ ...(FOLDER !== undefined && { path: join(FOLDER, `dashboard-${width}-${scheme}.png`) }) })
    t.equal(picture.readUInt32BE(16), width, 'a picture of that width')
    // An empty page of one colour is a few KB even at 4K.
    t.ok(picture.length > 20_000, `with something on it: ${picture.length} bytes`)
    await page.close()
  }
})
