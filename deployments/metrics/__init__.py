"""What judges measure: pure functions over pixels, on the CPU, with numpy and OpenCV and without weights. No stages."""
