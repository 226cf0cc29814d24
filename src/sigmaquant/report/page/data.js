// What Python put into the page.

const { report, CALIBRATION_HEADLINE, GUARANTEES, MARKS, METRIC_TITLES, STAGES } =
  JSON.parse(document.getElementById("data").textContent);
