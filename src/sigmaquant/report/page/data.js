// What Python put into the page.

const { report, MARKS, METRIC_TITLES, STAGES } = JSON.parse(document.getElementById("data").textContent);
