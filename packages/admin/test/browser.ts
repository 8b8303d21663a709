import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import balancer, { type BalancerOptions } from '@headgate/balancer'
import health from '@headgate/health'
import Fastify, { type FastifyInstance } from 'fastify'
import { type Browser, type Page, chromium } from 'playwright-core'
import type { Test } from 'tap'
import { find } from '../../../tools/system.mjs'
import admin, { type AdminOptions } from '../src/index.ts'

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** Debian's Chromium, closed with the test. */
export async function launch (t: Test): Promise<Browser> {
  const browser = await chromium.launch({ executablePath: find('chromium')!, args: ['--no-sandbox', '--disable-dev-shm-usage'] })
  t.teardown(() => browser.close())
  return browser
}

/** An app with the dashboard, listening. `checked`: real traffic is judged by @headgate/health. */
export async function serve (
  t: Test, balancing: BalancerOptions, options: AdminOptions = { unsafe: true }, checked = true
): Promise<{ app: FastifyInstance; url: string }> {
  const app = Fastify({ forceCloseConnections: true }) as FastifyInstance
  await app.register(admin, options)
  await app.register(balancer, balancing)
  if (checked) await app.register(health, { check: false, passive: { gatewayFailures: 2, maxEjectionPercent: 100 } })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  return { app, url }
}

/** The dashboard in a page; what the console complains of is collected. */
export async function open (t: Test, browser: Browser, url: string, width = 1280, colorScheme: 'light' | 'dark' = 'light'): Promise<{ page: Page; complaints: string[] }> {
  const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme, reducedMotion: 'reduce' })
  t.teardown(() => page.close())
  const complaints: string[] = []
  page.on('console', (message) => { if (['error', 'warning'].includes(message.type())) complaints.push(message.text()) })
  page.on('pageerror', (error) => { complaints.push(error.message) })
  await page.goto(`${url}/headgate/`)
  await page.locator('.row').first().waitFor()
  return { page, complaints }
}

/** Violations that axe-core finds, as `rule: elements`. */
export async function violations (page: Page): Promise<string[]> {
  // The page's policy forbids inline scripts; what the debugger evaluates is not the page's.
  await page.evaluate(AXE)
  const results = await page.evaluate('axe.run(document, { resultTypes: ["violations"], preload: false })') as { violations: { id: string; nodes: { html: string }[] }[] }
  return results.violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`)
}
