// Firefox for the Python tests: puppeteer-core over WebDriver BiDi, spoken to in JSON lines.
//
// stdin:  {"id": 1, "method": "open", ...parameters}      stdout: {"id": 1, "result": ...} or {"id": 1, "error": "..."}
// methods: launch {executable, prefs, env, acceptInsecureCerts}, open {width, height}, goto {tab, url},
//          evaluate {tab, expression}, click {tab, selector}, press {tab, key}, screenshot {tab, path}, console {tab},
//          closeTab {tab}, quit {}
// Calls of different tabs run side by side. puppeteer-core is found through the folder named by argv[2].

import { createRequire } from 'node:module';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const require = createRequire(path.join(process.argv[2], 'package.json'));
const { default: puppeteer } = await import(pathToFileURL(require.resolve('puppeteer-core')).href);

const CONSOLE_LINES = 200;
let browser = null;
let nextTab = 1;
const tabs = new Map(); // number -> { page, console: string[] }

const remember = (tab, line) => {
  tab.console.push(line);
  if (tab.console.length > CONSOLE_LINES) tab.console.shift();
};

const methods = {
  async launch({ executable, prefs, env, acceptInsecureCerts }) {
    browser = await puppeteer.launch({
      browser: 'firefox',
      executablePath: executable,
      headless: true,
      acceptInsecureCerts,
      extraPrefsFirefox: prefs,
      env: { ...process.env, ...env },
    });
    return await browser.version();
  },

  async open({ width, height }) {
    const page = await browser.newPage();
    await page.setViewport({ width, height });
    const tab = { page, console: [] };
    page.on('console', message => remember(tab, `${message.type()}: ${message.text()}`));
    page.on('pageerror', error => remember(tab, `pageerror: ${error?.stack ?? error}`));
    tabs.set(nextTab, tab);
    return nextTab++;
  },

  async goto({ tab, url }) {
    const answer = await tabs.get(tab).page.goto(url, { waitUntil: 'domcontentloaded', timeout: 30000 });
    return answer?.status() ?? 0;
  },

  evaluate: ({ tab, expression }) => tabs.get(tab).page.evaluate(expression),
  click: ({ tab, selector }) => tabs.get(tab).page.click(selector),
  press: ({ tab, key }) => tabs.get(tab).page.keyboard.press(key),
  console: async ({ tab }) => tabs.get(tab).console,

  async screenshot({ tab, path: file }) {
    await tabs.get(tab).page.screenshot({ path: file });
  },

  async closeTab({ tab }) {
    const { page } = tabs.get(tab);
    tabs.delete(tab);
    // All tabs share one context: what a page remembers is not for the next test on the same origin.
    const forgotten = page.evaluate(() => localStorage.clear()).catch(() => {});
    await Promise.race([forgotten, new Promise(resolve => setTimeout(resolve, 1000))]);
    await page.close();
  },

  async quit() {
    await browser?.close();
    browser = null;
  },
};

process.stdout.on('error', () => process.exit(1)); // nobody listens any more
const answer = message => process.stdout.write(`${JSON.stringify(message)}\n`);

for await (const line of createInterface({ input: process.stdin })) {
  const { id, method, ...parameters } = JSON.parse(line);
  Promise.resolve()
    .then(() => methods[method](parameters))
    .then(result => answer({ id, result: result ?? null }))
    .catch(error => answer({ id, error: String(error?.stack ?? error) }));
}
await browser?.close();
