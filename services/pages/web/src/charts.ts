/** The script of pages with charts. */

import { attachCharts } from "./islands/charts";

attachCharts();
